export * from './contract.js';
export * from './cost.js';
export * from './sensitivity.js';
export * from './random.js';
export * from './uniform.js';
export * from './ranges.js';
