export { batchSize, sampleSpecs } from './types.js';
export type * from './types.js';
export { type Preprocessing, preprocessingSchema } from './preprocess.js';
export { type Batch, batches, picked, remembered, subset, syntheticSource } from './source.js';
export { openData, parseDataSpec } from './open.js';
