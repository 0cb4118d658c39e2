export * from './manifest.js';
export * from './loader.js';
export * from './files.js';
export { type ModelSpec, supports } from '@bitloom/runtime';
