/** Generation on the ONNX engine. */
import { onnxEngine } from '../../src/engine/index.ts';
import { generationSuite } from './suite.ts';

generationSuite('onnx', () => onnxEngine({ threads: 2 }), 1e-4);
