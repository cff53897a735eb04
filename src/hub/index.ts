// hub: names of models and data sets -> local files, in the layout of Hugging Face's cache.
export { type LocalData, localData } from './dataset.ts';
export { COMPANION_FILES, cachedModel, type LocalModel, localModel } from './model.ts';
export { shownPath } from './names.ts';
export type { HubOptions } from './repository.ts';
