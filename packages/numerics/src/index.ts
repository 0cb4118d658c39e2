export * from './quant.js';
export * from './planes.js';
