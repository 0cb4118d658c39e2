export * from './nest.js';
export * as e from './expr.js';
export * from './builder.js';
export * from './program.js';
export * from './conv.js';
export * from './check-nest.js';
export * from './run-nest.js';
export * from './scalar-functions.js';
