export * from './def.js';
export * from './registry.js';
export * from './evaluate.js';
export * as compose from './compose.js';
export { broadcastShape, showType } from './shapes.js';
export type { ReshapeAttrs } from './reshape.js';
