/** Generation on the reference engine, which computes in double precision where it can. */
import { referenceEngine } from '../reference/engine.ts';
import { generationSuite } from './suite.ts';

generationSuite('reference', () => referenceEngine(), 1e-6);
