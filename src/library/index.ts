/** The commands as a program uses them: runs in its hand, and functions. */
export type { Control, Reply } from './desk.ts';
export { baselines, dpo, type Game, probe, resume, sft, spin } from './game.ts';
export type { Options } from './options.ts';
export { doctor, evaluate, generate, inspectData, merge, preflight, verifyResume } from './tasks.ts';
