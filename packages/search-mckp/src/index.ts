export { type Option, assertFeasible, knapsack, mckp } from './strategy.js';
export { type MckpItem, type MckpProblem, type MckpSolution, solveExact } from './solver.js';
