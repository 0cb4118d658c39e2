export * from './manifest.js';
export * from './loader.js';
export * from './files.js';
export { supports } from '@bitloom/runtime';
