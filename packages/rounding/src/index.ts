export * from './equalize.js';
export * from './moments.js';
export * from './quadratic.js';
export * from './relaxation.js';
export * from './rounding.js';
export * from './twins.js';
