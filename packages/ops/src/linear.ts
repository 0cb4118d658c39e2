/** Fully connected layer on the last axis: y = x·wᵀ + b for x (…, K), w (N, K), b (N). A 1×1 convolution of the conv family. */
import { e, scalarOf } from '@bitloom/kernel-spec';
import { rowMajorStrides } from '@bitloom/tensor';
import { z } from 'zod';
import { reduceSum, reshapeTo, transpose } from './compose.js';
import { activation } from './conv-attrs.js';
import { convCall } from './conv-call.js';
import { beforeActivation } from './conv-gradients.js';
import { type LowerInput, type Lowering, defineOp, logicalType, mismatch } from './def.js';
import { evaluateLowered, hasStrides, nestOver, newConstant, realValues } from './lowering.js';
import { expectClass, expectCount, expectSameDType, showTypes } from './shapes.js';

const attrs = z.strictObject({ activation });
/** `activation`: bounds of a fused Relu or Clip; absent or null where there is none. */
export type LinearAttrs = z.infer<typeof attrs>;

const product = (shape: readonly number[]): number => shape.reduce((p, d) => p * d, 1);

/** One local sum per output, in the order of K. */
function lowerToNest(n: LowerInput<LinearAttrs>): Lowering {
  const weight = n.inputs[1];
  const data = realValues(weight);
  const args = [0, data && weight.dtype === 'f32' ? newConstant('weight', 'f32', weight.shape, data) : 1, ...(n.inputs.length > 2 ? [2] : [])];
  return nestOver(n, args, (b, [x, w, bias], [y]) => {
    const t = scalarOf(logicalType(x));
    const clamp = n.attrs.activation;
    b.loops(y.shape, (index) => {
      const [lead, o] = [index.slice(0, -1), index[index.length - 1]];
      const sum = b.local(e.constant(t, 0));
      b.for(w.shape[1], (k) => sum.set(e.add(sum.value, e.mul(b.load(w, [o, k]), b.load(x, [...lead, k])))));
      const biased = bias ? e.add(sum.value, b.load(bias, [o])) : sum.value;
      b.store(y, index, clamp ? e.pmin(e.constant(t, clamp.max), e.pmax(e.constant(t, clamp.min), biased)) : biased);
    });
  });
}

function lower(n: LowerInput<LinearAttrs>): Lowering {
  const [x, w] = n.inputs;
  const [y] = n.outputs;
  const rowMajor = [x, y].every((v) => hasStrides(v, rowMajorStrides(v.shape)));
  if (logicalType(x) !== 'f32' || !w.constant || !rowMajor || (y.quant && !x.quant)) return lowerToNest(n);
  const [outC, inC] = w.shape;
  const rows = product(x.shape.slice(0, -1));
  return convCall(n, {
    batch: 1, inH: 1, inW: rows, inC, outH: 1, outW: rows, outC,
    kH: 1, kW: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1, groups: 1,
  });
}

export const linear = defineOp<LinearAttrs>({
  name: 'linear',
  summary: 'fully connected layer x·wᵀ + b on the last axis, with an optional fused clamp',
  attrs,
  infer(ins, _attrs, origin) {
    expectCount(ins, 'linear', origin, 2, 3);
    expectClass(ins[0], 'float', 'linear', origin);
    expectSameDType(ins, 'linear', origin);
    const [x, w, b] = ins;
    const biased = !b || (b.shape.length === 1 && b.shape[0] === w.shape[0]);
    if (x.shape.length < 1 || w.shape.length !== 2 || x.shape.at(-1) !== w.shape[1] || !biased) {
      mismatch(origin, 'linear', showTypes(ins), 'x of shape (…, K), w (N, K) and b (N)');
    }
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), w.shape[0]] }];
  },
  evaluate: (ins, a, outs) => evaluateLowered(lower, ins, a, outs, false),
  gradient(b, { inputs: [x, w, bias], outputs: [y], attrs: a, cotangents: [dy] }) {
    const shape = b.shapeOf(x);
    const [outs, ins] = b.shapeOf(w);
    const rows = product(shape.slice(0, -1));
    const d = reshapeTo(b, beforeActivation(b, y, dy!, a.activation), [rows, outs]);
    const grads = [
      reshapeTo(b, b.add('matmul', [d, w]), shape),
      b.add('matmul', [transpose(b, d, [1, 0]), reshapeTo(b, x, [rows, ins])]),
    ];
    return bias ? [...grads, reduceSum(b, d, [0], false)] : grads;
  },
  lower,
  scalar: null,
  channelsLast: false,
  accumulates: null,
});
