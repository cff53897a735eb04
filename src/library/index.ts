/** The commands as a program uses them: runs in its hand, and functions. */
export type { ChatAnswer, Control } from './desk.ts';
export { baselines, dpo, type Game, probe, resume, sft, spin } from './game.ts';
export type { Options } from './options.ts';
export type { Reply } from './reply.ts';
export { chat, type ModelChat, play } from './talk.ts';
export { doctor, evaluate, exportModel, generate, inspectData, merge, preflight, verifyResume } from './tasks.ts';
