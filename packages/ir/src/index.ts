export * from './graph.js';
export * from './builder.js';
export { IdPool } from './ids.js';
export * from './print.js';
export * from './parse.js';
export * from './verify.js';
export * from './pass.js';
export * from './rewrite.js';
