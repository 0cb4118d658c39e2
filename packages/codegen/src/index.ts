export * from './packing.js';
export * from './variant.js';
export * from './memory.js';
export * from './plan.js';
export * from './template.js';
export * from './costs.js';
export * from './split.js';
