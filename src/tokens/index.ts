// tokens: tokenizer and chat template: Example -> token ids; training a tokenizer of one's own.
export { type ChatTokenizer, type EncodedPair, hashTokenizer, loadTokenizer, type MaskPiece } from './chatTokenizer.ts';
export { ggufCompanions } from './companions.ts';
export { encodeExamples } from './encodeExamples.ts';
export { modelfile, type OllamaChat, ollamaChat } from './ollama.ts';
export type { StreamDecoder } from './streamDecoder.ts';
export { wallClock } from './template.ts';
export { ggufTokenizer } from './toGguf.ts';
export { type BpeTokenizerJson, trainBpe } from './trainBpe.ts';
export { type TokenizerRoles, writeTokenizer } from './writeTokenizer.ts';
