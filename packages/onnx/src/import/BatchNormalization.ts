import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';
import { affine, axesFrom, perChannel, standardize } from './standardize.js';

const { add, sub, mul, div, shift, square, reduceMean } = compose;

/** y = x·k + c with k = scale/√(var + ε), c = bias − mean·k; constants unless the statistics are computed. */
export const BatchNormalization: OnnxImporter = floats((n) => {
  const { b } = n;
  const [x, scale, bias, mean, variance] = n.all();
  const epsilon = n.attrs.float('epsilon', 1e-5);
  const rank = n.rank(0);
  if (n.shape(3).reduce((p, d) => p * d, 1) !== n.shape(1).reduce((p, d) => p * d, 1)) {
    n.mismatch(`mean [${n.shape(3).join(', ')}]`, `[${n.shape(1).join(', ')}]`);
  }
  if (n.opset >= 14 && n.attrs.bool('training_mode', false)) {
    const axes = [0, ...axesFrom(2, rank)];
    const momentum = n.attrs.float('momentum', 0.9);
    const s = standardize(n, x, axes, epsilon);
    const flat = (v: ValueId): ValueId => n.reshape(v, n.shape(3));
    const now = flat(s.mean);
    const spread = flat(reduceMean(b, square(b, sub(b, x, s.mean)), axes, true));
    const running = (old: ValueId, v: ValueId): ValueId => add(b, compose.scale(b, old, momentum), compose.scale(b, v, 1 - momentum));
    return [affine(n, s.y, perChannel(n, scale, rank), perChannel(n, bias, rank)), running(mean, now), running(variance, spread)];
  }
  const k = div(b, scale, n.op('sqrt', [shift(b, variance, epsilon)]));
  return affine(n, x, perChannel(n, k, rank), perChannel(n, sub(b, bias, mul(b, mean, k)), rank));
});
