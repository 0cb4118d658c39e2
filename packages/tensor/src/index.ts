export * from './dtype.js';
export * from './tensor.js';
export * from './rng.js';
