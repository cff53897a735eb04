/**
 * The suite that every engine passes: results against the float64 evaluator, states and effects, failures, freezing,
 * disposal. Call it at the top of a test file with a maker of fresh engines:
 *
 *     conformance('onnx', () => onnxEngine({ threads: 1 }));
 *
 * An engine that computes in reduced precision says how much it rounds: the relative error of one op.
 */
import { describe, expect, it } from 'vitest';
import type { MakeEngine } from './bench.ts';
import { opsConformance } from './conformance-ops.ts';
import { programsConformance } from './conformance-programs.ts';
import { sampleConformance } from './conformance-sample.ts';
import { statesConformance } from './conformance-states.ts';

export function conformance(name: string, makeEngine: MakeEngine, rounding = 0): void {
  describe(`conformance of the ${name} engine`, () => {
    it('says what it is', async () => {
      const engine = await makeEngine();
      const { info } = engine;
      await engine.dispose();
      expect(info.name).toBe(name);
      expect(info.version).not.toBe('');
      expect(info.threads).toBeGreaterThanOrEqual(1);
      expect(info.gpu !== undefined).toBe(info.device.startsWith('cuda'));
    });
    opsConformance(makeEngine, rounding);
    sampleConformance(makeEngine);
    statesConformance(makeEngine, rounding);
    programsConformance(makeEngine, rounding);
  });
}
