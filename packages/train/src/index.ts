export * from './augment.js';
export * from './checkpoint.js';
export * as losses from './loss.js';
export * as optimizers from './optimizer.js';
export type { Optimizer } from './optimizer.js';
export * as schedules from './schedule.js';
export type { Schedule } from './schedule.js';
export * from './step.js';
export * from './trainable.js';
