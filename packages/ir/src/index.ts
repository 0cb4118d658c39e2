export * from './graph.js';
export * from './builder.js';
