// The ONNX engine against PyTorch's fixtures.
import { onnxEngine } from '../../src/engine/index.ts';
import { goldenSuite } from './golden.ts';

goldenSuite('onnx', () => onnxEngine({ threads: 2 }));
