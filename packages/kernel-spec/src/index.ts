export * from './nest.js';
export * as e from './expr.js';
export * from './builder.js';
export * from './program.js';
export * from './conv.js';
