export * from './solver.js';
export * from './strategy.js';
