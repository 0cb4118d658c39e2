/** The network: a small residual CNN whose weights are named parameters. */
import { type GraphBuilder, type ValueId } from '@bitloom/ir';
import { type Rng, type Tensor, allocate } from '@bitloom/tensor';
import { CHANNELS, CLASSES } from './draw.js';

/** Shape of every parameter, in order. Convolutions are (O, C/groups, kH, kW), the last layer (classes, features). */
export const PARAMETERS: Readonly<Record<string, readonly number[]>> = {
  'stem.w': [16, CHANNELS, 3, 3], 'stem.b': [16],
  'down.w': [32, 16, 3, 3], 'down.b': [32],
  'depthwise.w': [32, 1, 3, 3], 'depthwise.b': [32],
  'pointwise.w': [32, 32, 1, 1], 'pointwise.b': [32],
  'residual1.w': [32, 32, 3, 3], 'residual1.b': [32],
  'residual2.w': [32, 32, 3, 3], 'residual2.b': [32],
  'head.w': [64, 32, 1, 1], 'head.b': [64],
  'classifier.w': [CLASSES.length, 64], 'classifier.b': [CLASSES.length],
};

/** He initialisation (arXiv 1502.01852); biases zero; the residual branch starts small so that the block starts near the identity. */
export function initialParameters(rng: Rng): Map<string, Tensor> {
  return new Map(Object.entries(PARAMETERS).map(([name, shape]) => {
    const t = allocate('f32', shape);
    const fanIn = t.data.length / shape[0];
    const gain = name === 'residual2.w' ? 0.2 : Math.sqrt(2 / fanIn);
    if (name.endsWith('.w')) for (let i = 0; i < t.data.length; i++) t.data[i] = rng.normal() * (name === 'residual2.w' ? gain / Math.sqrt(fanIn) : gain);
    return [name, t];
  }));
}

/** Emits the forward pass: `image` (N, 3, 32, 32) to logits (N, classes). `parameter` gives the value of a parameter. */
export function network(b: GraphBuilder, image: ValueId, parameter: (name: string) => ValueId): ValueId {
  const conv = (x: ValueId, name: string, pad: number, stride = 1, group = 1): ValueId => {
    b.origin = name;
    return b.add('conv', [x, parameter(`${name}.w`), parameter(`${name}.b`)], { strides: [stride, stride], dilations: [1, 1], pads: [pad, pad, pad, pad], group });
  };
  const relu = (x: ValueId): ValueId => {
    b.origin += '.relu';
    return b.add('relu', [x]);
  };
  let x = relu(conv(image, 'stem', 1));
  x = relu(conv(x, 'down', 1, 2));
  x = relu(conv(x, 'depthwise', 1, 1, 32));
  x = relu(conv(x, 'pointwise', 0));
  b.origin = 'pool';
  x = b.add('max_pool', [x], { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] });
  const branch = conv(relu(conv(x, 'residual1', 1)), 'residual2', 1);
  b.origin = 'residual.add';
  x = relu(b.add('add', [x, branch]));
  x = relu(conv(x, 'head', 0));
  const [n, channels, ...size] = b.shapeOf(x);
  b.origin = 'global_pool';
  x = b.add('avg_pool', [x], { kernel: size, strides: size, pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0], countIncludePad: false });
  b.origin = 'flatten';
  x = b.add('reshape', [x], { shape: [n, channels] });
  b.origin = 'classifier';
  return b.add('linear', [x, parameter('classifier.w'), parameter('classifier.b')], {}, { names: ['logits'] });
}
