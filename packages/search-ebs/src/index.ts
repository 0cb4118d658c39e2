export { ebs, ebsOptions } from './strategy.js';
