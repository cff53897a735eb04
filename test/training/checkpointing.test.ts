// Gradient checkpointing on the ONNX engine.
import { onnxEngine } from '../../src/engine/index.ts';
import { checkpointingSuite } from './checkpointing.ts';

checkpointingSuite(() => onnxEngine({ threads: 1 }));
