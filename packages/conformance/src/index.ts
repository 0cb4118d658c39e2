export { operatorsDocument } from './operators.js';
export type { Results } from './results.js';
