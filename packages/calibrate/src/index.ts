export * from './histogram.js';
export * from './ranges.js';
export * from './observe.js';
export * from './calibrate.js';
export * from './quantized-value.js';
