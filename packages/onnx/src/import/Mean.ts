import type { OnnxImporter } from '../node.js';

export const Mean: OnnxImporter = (n) => {
  const sum = n.all().reduce((a, b) => n.op('add', [a, b]));
  return n.op('div', [sum, n.like(sum, n.inputCount)]);
};
