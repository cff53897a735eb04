// util: errors, seeded random numbers, atomic saving, locking, identities of values, HTTP. Imports nothing of the project.
export {
  besides,
  checkWritable,
  hashFile,
  MANIFEST_NAME,
  type ManifestFile,
  publishDirectory,
  readManifest,
  removeStaleTemps,
  saveError,
  verifyDirectory,
  writeFileAtomic,
} from './atomic.ts';
export { cacheFolder, type Env } from './cache.ts';
export {
  describeError,
  type ErrorCode,
  type ErrorKind,
  type ErrorParts,
  exitCode,
  failure,
  isOutOfMemory,
  isStopped,
  isUnreachable,
  problemLines,
  SelfplayError,
  usageError,
} from './errors.ts';
export { type Web, type WebOptions, webClient } from './http.ts';
export { diskIo, exists, type Io, type IoEntry, type IoFile, withFile, writeAll } from './io.ts';
export { canonicalJson, sha256Hex } from './json.ts';
export { linkDirectory, linkedDirectory } from './link.ts';
export { lockDirectory } from './lock.ts';
export {
  hash32,
  normals,
  philox4x32,
  type RowKey,
  rowKey,
  shuffled,
  uniform,
  uniforms,
  type Words4,
  words,
} from './philox.ts';
export { openChild, openWorker } from './thread.ts';
export { demandRoom, megabytes, type StartBar, withByteBar } from './transfer.ts';
export { VERSION } from './version.ts';
