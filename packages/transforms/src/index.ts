export * from './autodiff.js';
export * from './clusters.js';
export * from './lower.js';
export * from './precision.js';
