export * from './autodiff.js';
export * from './clusters.js';
export * from './lower.js';
export * from './precision.js';
export * from './replace.js';
export { fuseActivation } from './simplify/fuse-activation.js';
export { FLOAT_PASSES, simplify } from './simplify/index.js';
export { splitStreams } from './simplify/split-streams.js';
export * from './streams.js';
