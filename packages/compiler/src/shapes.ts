/** Typical layers, to which costs are fitted for models that were never timed. */
import type { BufferDef, ConvParams, KernelCall, Program } from '@bitloom/kernel-spec';
import type { Graph, ValueId } from '@bitloom/ir';
import { type Bits } from '@bitloom/numerics';
import { compose, createBuilder } from '@bitloom/ops';
import { type DType, type TypedArray, allocate, rowMajorStrides } from '@bitloom/tensor';
import { lowerGraph, splitStreams } from '@bitloom/transforms';
import { nominalProgram } from './latency.js';

/** Side, input channels, output channels, kernel, stride, groups; "same" padding. */
type Shape = readonly [side: number, inC: number, outC: number, kernel: number, stride?: number, groups?: number];

/** Some of each form of `fitKey`, from networks of a few kilobytes to ResNets and MobileNets. */
const SHAPES: readonly Shape[] = [
  // fully connected
  [1, 16, 4, 1], [1, 64, 10, 1], [1, 128, 128, 1], [1, 64, 640, 1], [1, 784, 300, 1], [1, 96, 24, 1], [1, 256, 64, 1], [1, 512, 1000, 1], [1, 1024, 1024, 1],
  [1, 2048, 512, 1], [1, 1280, 1000, 1], [1, 576, 96, 1], [1, 33, 17, 1],
  // 1×1
  [56, 24, 144, 1], [28, 32, 192, 1], [28, 192, 32, 1], [14, 96, 576, 1], [14, 576, 96, 1], [7, 320, 1280, 1], [7, 160, 960, 1], [14, 256, 256, 1],
  [56, 64, 64, 1], [32, 16, 32, 1, 2], [8, 64, 64, 1], [25, 64, 64, 1], [28, 128, 128, 1, 2], [10, 10, 7, 1],
  // windows over many channels
  [56, 64, 64, 3], [28, 128, 128, 3], [14, 256, 256, 3], [7, 512, 512, 3], [32, 16, 16, 3], [16, 32, 32, 3], [8, 64, 64, 3], [32, 16, 32, 3, 2],
  [14, 32, 32, 5], [10, 48, 24, 3], [28, 64, 128, 3, 2], [20, 18, 20, 3], [13, 64, 192, 5],
  // windows over few channels: first layers
  [112, 3, 32, 3, 2], [112, 3, 16, 7, 2], [32, 3, 16, 3], [64, 3, 24, 3, 2], [28, 1, 6, 5], [14, 6, 16, 5], [49, 1, 64, 4, 2], [32, 8, 16, 3], [48, 12, 24, 3],
  [96, 3, 8, 3, 2], [24, 8, 8, 3], [20, 4, 12, 3],
  // depthwise
  [112, 32, 32, 3, 1, 32], [56, 144, 144, 3, 2, 144], [28, 192, 192, 3, 1, 192], [14, 384, 384, 3, 1, 384], [14, 576, 576, 3, 2, 576], [7, 960, 960, 3, 1, 960],
  [32, 16, 16, 3, 1, 16], [16, 64, 64, 5, 1, 64], [25, 64, 64, 3, 1, 64], [10, 24, 24, 3, 1, 24], [7, 512, 512, 7, 1, 512], [56, 72, 72, 5, 2, 72],
  // groups
  [28, 64, 64, 3, 1, 4], [14, 128, 128, 3, 1, 8], [28, 32, 64, 1, 1, 2], [20, 24, 48, 3, 1, 3], [14, 256, 256, 3, 1, 32], [28, 16, 32, 3, 2, 2],
  [13, 256, 384, 3, 1, 2], [7, 128, 128, 1, 1, 4], [16, 48, 48, 3, 1, 4], [10, 40, 20, 5, 1, 5], [14, 116, 116, 1, 1, 2],
];

const paramsOf = ([side, inC, outC, kernel, stride = 1, groups = 1]: Shape, bits: readonly [Bits, Bits] | null): ConvParams => {
  const out = Math.ceil(side / stride);
  const pad = Math.floor((kernel - 1) / 2);
  return {
    batch: 1, inH: side, inW: side, inC, outH: out, outW: out, outC, kH: kernel, kW: kernel, strideH: stride, strideW: stride, padT: pad, padL: pad,
    dilH: 1, dilW: 1, groups, kind: bits ? 'int' : 'f32', weightBits: bits?.[0] ?? null, activationBits: bits?.[1] ?? null, xZero: 0,
    output: bits ? 'codes' : 'f32', lo: 0, hi: bits ? 2 ** bits[1] - 1 : Infinity,
  };
};

/** What networks have between their layers, streams that are requantised among it, at several sizes. */
function betweenLayers(): Graph {
  const b = createBuilder('typical');
  const outputs: ValueId[] = [];
  for (const [side, channels] of [[56, 8], [32, 16], [28, 64], [14, 32], [7, 128]]) {
    const x = b.input(`x${side}`, { dtype: 'f32', shape: [1, channels, side, side] });
    const conv = (v: ValueId): ValueId => b.add('conv', [v, b.const(allocate('f32', [channels, channels, 1, 1]))], {
      strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1, activation: null,
    });
    const window = { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], ceilExtra: [0, 0] };
    const first = conv(x);
    const sum = b.add('relu', [compose.add(b, first, conv(first))]);
    const scaled = b.add('mul', [sum, b.add('sigmoid', [conv(b.add('avg_pool', [sum], { kernel: [side, side], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0], countIncludePad: false }))])]);
    const joined = b.add('concat', [conv(scaled), conv(sum)], { axis: 1 });
    const pooled = b.add('max_pool', [joined], { ...window, dilations: [1, 1] });
    const averaged = b.add('avg_pool', [joined], { ...window, dilations: [1, 1], countIncludePad: false });
    const mean = b.add('reduce_sum', [compose.add(b, pooled, averaged)], { axes: [2, 3], keepdims: false });
    const scores = b.add('linear', [mean, b.const(allocate('f32', [channels, 2 * channels]))], { activation: null });
    outputs.push(b.add('softmax', [scores], { axis: 1 }));
  }
  return splitStreams(b.build(outputs));
}

/** All of this as one program whose results mean nothing. @param bits null: f32 */
export function typicalProgram(bits: readonly [Bits, Bits] | null): Program {
  const graph = betweenLayers();
  const base = bits ? nominalProgram(graph, ...bits) : lowerGraph(graph);
  const buffers: BufferDef[] = [...base.buffers];
  const buffer = (name: string, dtype: DType, elements: number, data: TypedArray | null): number =>
    buffers.push({ name, dtype, shape: [elements], strides: rowMajorStrides([elements]), elements, quant: null, data }) - 1;
  const all = SHAPES.map((s) => paramsOf(s, bits));
  const type: DType = bits ? 'u8' : 'f32';
  const x = buffer('shared', type, Math.max(...all.map((p) => p.inH * p.inW * p.inC)), null);
  const zeros = (dtype: DType, elements: number): number => buffer('zeros', dtype, elements, allocate(dtype, [elements]).data);
  const calls = all.map((p, i): KernelCall => {
    const weights = zeros(bits ? 'i8' : 'f32', (p.outC * p.kH * p.kW * p.inC) / p.groups);
    const vectors = bits ? [zeros('f32', p.outC), zeros('f32', p.outC)] : [zeros('f32', p.outC)];
    return { family: 'conv', params: p, args: [x, weights, ...vectors], results: [buffer(`y${i}`, type, p.outH * p.outW * p.outC, null)], origin: `typical ${i}` };
  });
  return { ...base, buffers, calls: [...base.calls, ...calls], inputs: [...base.inputs, { name: 'shared', buffer: x }] };
}
