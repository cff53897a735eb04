// formats: bytes <-> objects. Files of weights (safetensors, GGUF) and of rows (JSON lines, CSV, TSV, parquet).
export { fileBytes, firstBytes } from './bytes.ts';
export { castTensor } from './cast.ts';
export { readSeparated } from './csv.ts';
export { type GgufFile, type GgufTensorInfo, readGguf } from './gguf.ts';
export { READABLE_TYPES, readGgufTensorF32 } from './gguf-decode.ts';
export { WRITABLE_TYPES, type WritableType } from './gguf-encode.ts';
export { type Metadata, readMetadata } from './gguf-metadata.ts';
export { ggufInPlaceOf, isGgufFile, readModelGguf } from './gguf-model.ts';
export { blockType } from './gguf-types.ts';
export { type GgufTensorToWrite, type GgufValue, writeGguf } from './gguf-write.ts';
export { type JsonAppender, type JsonLine, openAppender, readJsonLines } from './jsonl.ts';
export { readParquet } from './parquet.ts';
export {
  readSafetensorsHeader,
  readTensorF32,
  readTensorI32,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type TensorInfo,
  type TensorToWrite,
  writeSafetensors,
} from './safetensors.ts';
export { writeShards } from './shards.ts';
export { parseStrictJson, type StrictJson } from './strict-json.ts';
