export { mckp } from './strategy.js';
