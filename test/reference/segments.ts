/** Segment tables for tests: packed prompts with their responses, and sequences side by side. */
import { type Array64, array } from './array.ts';

const table = (rows: readonly (readonly number[])[]): Array64 => array(rows.flat(), [rows.length, 6]);

/** One packed group: the prompt's length, then the lengths of the responses that share it. */
export type Packed = readonly [prompt: number, ...responses: number[]];

/**
 * prompt|response|response|... groups one after the other: the first response is one segment with its prompt, each other
 * one sees the prompt and itself. A group without responses is a plain sequence.
 */
export function packedSegments(groups: readonly Packed[]): { segments: Array64; positions: Array64; tokens: number } {
  const rows: number[][] = [];
  const positions: number[] = [];
  let start = 0;
  for (const [prompt, first = 0, ...others] of groups) {
    let end = start + prompt + first;
    rows.push([start, end, start, end, 0, 0]);
    for (let i = 0; i < prompt + first; i++) positions.push(i);
    for (const length of others) {
      rows.push([end, end + length, start, start + prompt, end, end + length]);
      for (let i = 0; i < length; i++) positions.push(prompt + i);
      end += length;
    }
    start = end;
  }
  return { segments: table(rows), positions: array(positions), tokens: start };
}

/** The second sequence continues a first one: its queries are the last of its keys; the empty range is written as t,t. */
export function continuedSegments(past: number, queries: number): { segments: Array64; tokens: number } {
  const tokens = past + queries;
  return {
    segments: table([
      [0, past, 0, past, past, past],
      [past, tokens, 0, tokens, tokens, tokens],
    ]),
    tokens,
  };
}
