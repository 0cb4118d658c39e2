export * from './autodiff.js';
export * from './clusters.js';
export * from './lower.js';
export * from './precision.js';
export { SIMPLIFY_RULES, fuseActivation, fuseActivationPass, fuseActivationRule, eliminateCommonSubexpressions, simplify, simplifyPass } from './simplify/index.js';
