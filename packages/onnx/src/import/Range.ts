import type { OnnxImporter } from '../node.js';

/** start, start + delta, … before limit; all constant. */
export const Range: OnnxImporter = (n) => {
  const [start, limit, delta] = [0, 1, 2].map((i) => n.number(i, ['start', 'limit', 'delta'][i]));
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (!(delta !== 0)) n.mismatch(`delta ${delta}`, 'a step other than 0');
  return n.generate(n.dtype(0), [count], (i) => start + i * delta);
};
