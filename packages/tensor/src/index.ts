export * from './dtype.js';
export * from './tensor.js';
export * from './rng.js';
export * from './npy.js';
export * from './npz.js';
