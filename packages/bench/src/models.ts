/** Networks to measure on, with seeded random weights (batch normalisation already folded into them). */
import type { Graph, GraphBuilder, ValueId } from '@bitloom/ir';
import { createBuilder } from '@bitloom/ops';
import { Rng, type Tensor, tensor } from '@bitloom/tensor';

/** One convolution: `channels` in, `outputs` out at `size`² pixels in. */
export interface LayerShape {
  readonly channels: number;
  readonly outputs: number;
  readonly size: number;
  readonly kernel: number;
  readonly groups?: number;
}

/** Layers of the kernel study: 3×3 at three depths, 1×1, depthwise, and the product M=128, N=784, K=1152. */
export const LAYERS = {
  'conv3x3-64@56': { channels: 64, outputs: 64, size: 56, kernel: 3 },
  'conv3x3-128@28': { channels: 128, outputs: 128, size: 28, kernel: 3 },
  'conv3x3-256@14': { channels: 256, outputs: 256, size: 14, kernel: 3 },
  'conv1x1-256@14': { channels: 256, outputs: 256, size: 14, kernel: 1 },
  'dw3x3-32@112': { channels: 32, outputs: 32, size: 112, kernel: 3, groups: 32 },
  'gemm-128x784x1152': { channels: 1152, outputs: 128, size: 28, kernel: 1 },
} as const satisfies Readonly<Record<string, LayerShape>>;

export const layerMacs = (l: LayerShape): number => (l.size ** 2 * l.outputs * l.kernel ** 2 * l.channels) / (l.groups ?? 1);

class Net {
  readonly b: GraphBuilder;
  private readonly rng = new Rng(1);
  private layers = 0;
  constructor(name: string) {
    this.b = createBuilder(name);
  }

  private normal(shape: readonly number[], scale: number): Tensor {
    return tensor('f32', shape, Float32Array.from({ length: shape.reduce((p, d) => p * d, 1) }, () => Math.fround(scale * this.rng.normal())));
  }

  /** Convolution with "same" padding; weights of variance 2/K keep the scale of activations (He et al., arXiv 1502.01852). */
  conv(x: ValueId, outputs: number, kernel: number, o: { stride?: number; groups?: number; activation?: 'relu' | 'relu6' | null } = {}): ValueId {
    const { stride = 1, groups = 1, activation = 'relu' } = o;
    const channels = this.b.shapeOf(x)[1] / groups;
    this.b.origin = `conv${++this.layers}`;
    const w = this.b.const(this.normal([outputs, channels, kernel, kernel], Math.sqrt(2 / (channels * kernel * kernel))), 'w');
    const pad = (kernel - 1) >> 1;
    const y = this.b.add('conv', [x, w, this.b.const(this.normal([outputs], 0.1), 'b')], {
      strides: [stride, stride], dilations: [1, 1], pads: [pad, pad, pad, pad], group: groups, activation: null,
    });
    return activation === null ? y : activation === 'relu' ? this.b.add('relu', [y], {}) : this.b.add('clip', [y], { min: 0, max: 6 });
  }

  /** Global average pooling and a fully connected layer of 1000 classes. */
  classify(x: ValueId): Graph {
    const [, channels, size] = this.b.shapeOf(x);
    this.b.origin = 'pool';
    const pooled = this.b.add('avg_pool', [x], {
      kernel: [size, size], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0], countIncludePad: false,
    });
    this.b.origin = 'fc';
    const flat = this.b.add('reshape', [pooled], { shape: [1, channels] });
    const w = this.b.const(this.normal([1000, channels], Math.sqrt(1 / channels)), 'w');
    return this.b.build([this.b.add('linear', [flat, w, this.b.const(this.normal([1000], 0.1), 'b')], { activation: null }, { names: ['y'] })]);
  }

  image = (channels: number, size: number): ValueId => this.b.input('x', { dtype: 'f32', shape: [1, channels, size, size] });

  relu(x: ValueId): ValueId {
    return this.b.add('relu', [x], {});
  }
}

/**
 * A network whose time grows by that of one layer from `n` to `n` + 1: a chain of equal layers, or, where shapes do not let the
 * layer follow itself, layers beside each other of which one value each is kept.
 */
export function repeated(l: LayerShape, n: number): Graph {
  const net = new Net(`layers${n}`);
  const x = net.image(l.channels, l.size);
  const layer = (v: ValueId): ValueId => net.conv(v, l.outputs, l.kernel, { groups: l.groups });
  if (l.channels === l.outputs) {
    let y = x;
    for (let i = 0; i < n; i++) y = layer(y);
    return net.b.build([y]);
  }
  const kept = Array.from({ length: n }, () => net.b.add('slice', [layer(x)], { starts: [0, 0, 0, 0], steps: [1, 1, 1, 1], sizes: [1, 1, 1, 1] }));
  return net.b.build([net.b.add('concat', kept, { axis: 1 })]);
}

/** ResNet-18 at 224×224 (He et al., arXiv 1512.03385, table 1): 1.8 GMAC. */
export function resnet18(): Graph {
  const net = new Net('resnet18');
  let x = net.conv(net.image(3, 224), 64, 7, { stride: 2 });
  x = net.b.add('max_pool', [x], { kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], ceilExtra: [0, 0] });
  for (const channels of [64, 128, 256, 512]) {
    for (const first of [true, false]) {
      const stride = first && channels > 64 ? 2 : 1;
      const shortcut = stride === 2 ? net.conv(x, channels, 1, { stride, activation: null }) : x;
      const y = net.conv(net.conv(x, channels, 3, { stride }), channels, 3, { activation: null });
      x = net.relu(net.b.add('add', [y, shortcut], {}));
    }
  }
  return net.classify(x);
}

/** MobileNetV2 1.0 at 224×224 (Sandler et al., arXiv 1801.04381, table 2): 0.3 GMAC. */
export function mobilenetV2(): Graph {
  const net = new Net('mobilenet_v2');
  let x = net.conv(net.image(3, 224), 32, 3, { stride: 2, activation: 'relu6' });
  const stages = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]] as const;
  for (const [expansion, outputs, count, firstStride] of stages) {
    for (let i = 0; i < count; i++) {
      const stride = i === 0 ? firstStride : 1;
      const channels = net.b.shapeOf(x)[1];
      const wide = channels * expansion;
      let y = expansion === 1 ? x : net.conv(x, wide, 1, { activation: 'relu6' });
      y = net.conv(y, wide, 3, { stride, groups: wide, activation: 'relu6' });
      y = net.conv(y, outputs, 1, { activation: null });
      x = stride === 1 && channels === outputs ? net.b.add('add', [x, y], {}) : y;
    }
  }
  return net.classify(net.conv(x, 1280, 1, { activation: 'relu6' }));
}
