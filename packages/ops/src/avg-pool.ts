/**
 * Mean of each window of x (N, C, spatial…): the sum in increasing tap order divided by the number of taps inside x, or, with
 * `countIncludePad`, inside x and its pads.
 */
import { e, scalarOf } from '@bitloom/kernel-spec';
import { tensorOf } from '@bitloom/tensor';
import { z } from 'zod';
import { div } from './compose.js';
import { convInputGradient } from './conv-gradients.js';
import { byNest, defineOp, logicalType } from './def.js';
import { rowsOfChannels } from './lowering.js';
import { divisor, inferPool, poolNest, poolShape, poolWindow } from './pool.js';
import { expectClass } from './shapes.js';
import { tapCount } from './window.js';

const attrs = z.strictObject({ ...poolShape, countIncludePad: z.boolean() });
export type AvgPoolAttrs = z.infer<typeof attrs>;

export const avgPool = defineOp<AvgPoolAttrs>({
  name: 'avg_pool',
  summary: 'mean of each window, over its taps inside the input (or its padding too)',
  attrs,
  infer(ins, a, origin) {
    const types = inferPool(ins, a, 'avg_pool', origin);
    expectClass(ins[0], 'float', 'avg_pool', origin);
    return types;
  },
  /** The mean is a depthwise convolution with ones, divided by the counts. */
  gradient(b, { inputs: [x], attrs: a, cotangents: [dy] }) {
    const { dtype, shape: [, channels, ...size] } = b.typeOf(x);
    const n = size.length;
    const out = b.shapeOf(dy!).slice(2);
    const perAxis = out.map((d, i) => Array.from({ length: d }, (_, p) =>
      a.countIncludePad ? tapCount(a, i, p, size[i], a.pads[i], a.pads[n + i]) : tapCount(a, i, p, size[i], 0, 0)));
    const counts = perAxis.reduce<number[]>((all, axis) => all.flatMap((c) => axis.map((d) => c * d)), [1]);
    const taps = a.kernel.reduce((p, k) => p * k, 1);
    const ones = b.const(tensorOf(dtype, [channels, 1, ...a.kernel], new Array<number>(channels * taps).fill(1)), 'ones');
    const shares = div(b, dy!, b.const(tensorOf(dtype, [1, 1, ...out], counts), 'counts'));
    return [convInputGradient(b, shares, ones, { ...poolWindow(a), group: channels }, size)];
  },
  ...byNest<AvgPoolAttrs>((b, [x], [y], a) => {
    const t = scalarOf(logicalType(x));
    const [out, size] = [y.shape.slice(2), x.shape.slice(2)];
    poolNest(b, x, y, a, e.constant(t, 0), e.add, (sum, p) => e.div(sum, e.cast(t, divisor(b, a, p, out, size))));
  }),
  channelsLast: true,
  accumulates: ({ outputs: [y] }) => rowsOfChannels(y),
});
