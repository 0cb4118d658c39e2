/** Core op → ONNX nodes (opset {@link EXPORT_OPSET}): one row per op. */
import type { Node, TensorType } from '@bitloom/ir';
import { type DType, type Tensor, scalar, tensorOf } from '@bitloom/tensor';
import { FAKE_QUANTIZE } from './fake-quantize.js';

export const EXPORT_OPSET = 19;

export type AttributeValue = number | { readonly float: number } | string | readonly number[] | { readonly floats: readonly number[] };

/** What a row may do: emit nodes, make constants and intermediate names. */
export interface ExportContext {
  emit(opType: string, inputs: readonly string[], outputs: readonly string[], attributes?: Readonly<Record<string, AttributeValue>>): void;
  constant(t: Tensor): string;
  temp(): string;
  typeOf(id: string): TensorType;
}

type Row = (c: ExportContext, n: Node<never>) => void;

/** ONNX TensorProto.DataType of our element types. */
export const ONNX_TYPE: Readonly<Record<DType, number>> = { f32: 1, u8: 2, i8: 3, u16: 4, i16: 5, i32: 6, i64: 7, bool: 9, f64: 11, u32: 12, u64: 13 };

/** Same operands, another name. */
const plain = (opType: string): Row => (c, n) => c.emit(opType, n.inputs, n.outputs);
/** Same operands, attributes computed from ours. */
const withAttrs = <A>(opType: string, attrs: (a: A) => Record<string, AttributeValue>): Row => (c, n) => c.emit(opType, n.inputs, n.outputs, attrs(n.attrs));
/** Attributes that ONNX takes as int64 inputs after the operands. */
const withInputs = <A>(opType: string, inputs: (a: A) => readonly (readonly number[])[], attrs: (a: A) => Record<string, AttributeValue> = () => ({})): Row =>
  (c, n) => c.emit(opType, [...n.inputs, ...inputs(n.attrs).map((v) => i64(c, v))], n.outputs, attrs(n.attrs));

const i64 = (c: ExportContext, v: readonly number[]): string => c.constant(tensorOf('i64', [v.length], v));
const flag = (b: boolean): number => (b ? 1 : 0);

interface Axes { axes: number[]; keepdims: boolean }
interface Axis { axis: number }
interface Window { kernel: number[]; strides: number[]; pads: number[]; dilations: number[]; ceilExtra: number[]; countIncludePad?: boolean }
interface Activation { activation?: { min: number; max: number } | null }

const reduce = (opType: string): Row => withInputs<Axes>(opType, (a) => [a.axes], (a) => ({ keepdims: flag(a.keepdims) }));
const argReduce = (opType: string): Row =>
  withAttrs<Axis & { keepdims: boolean; last: boolean }>(opType, (a) => ({ axis: a.axis, keepdims: flag(a.keepdims), select_last_index: flag(a.last) }));
/** Boolean or bitwise form by operand type. */
const logical = (name: string): Row => (c, n) => c.emit(c.typeOf(n.inputs[0]).dtype === 'bool' ? name : `Bitwise${name}`, n.inputs, n.outputs);

function clipTo(c: ExportContext, x: string, out: string, dtype: DType, min: number, max: number): void {
  const bound = (v: number): string => (Number.isFinite(v) ? c.constant(scalar(dtype, v)) : '');
  c.emit('Clip', [x, bound(min), bound(max)], [out]);
}

/** Runs `body` into a temporary and clips it where the node carries a fused activation. */
function activated(c: ExportContext, n: Node<never>, body: (out: string) => void): void {
  const a = (n.attrs as Activation).activation;
  if (!a) return body(n.outputs[0]);
  const t = c.temp();
  body(t);
  clipTo(c, t, n.outputs[0], 'f32', a.min, a.max);
}

const window = (a: Window): Record<string, AttributeValue> => ({
  kernel_shape: a.kernel, strides: a.strides, pads: a.pads, ceil_mode: flag(a.ceilExtra.some((e) => e > 0)),
  // onnxruntime 1.30 copies the attribute to its integer AveragePool, which does not know it.
  ...(a.dilations.some((d) => d > 1) ? { dilations: a.dilations } : {}),
});

export const EXPORTS: Readonly<Record<string, Row>> = {
  identity: plain('Identity'),
  requantize: plain('Identity'),
  neg: plain('Neg'), abs: plain('Abs'), exp: plain('Exp'), log: plain('Log'), sqrt: plain('Sqrt'), floor: plain('Floor'), ceil: plain('Ceil'),
  round: plain('Round'), sign: plain('Sign'), sin: plain('Sin'), cos: plain('Cos'), tan: plain('Tan'), asin: plain('Asin'), acos: plain('Acos'),
  atan: plain('Atan'), sinh: plain('Sinh'), cosh: plain('Cosh'), tanh: plain('Tanh'), asinh: plain('Asinh'), acosh: plain('Acosh'),
  atanh: plain('Atanh'), erf: plain('Erf'), sigmoid: plain('Sigmoid'), relu: plain('Relu'), not: plain('Not'), bitnot: plain('BitwiseNot'), isnan: plain('IsNaN'),
  isinf: withAttrs<{ negative: boolean; positive: boolean }>('IsInf', (a) => ({ detect_negative: flag(a.negative), detect_positive: flag(a.positive) })),
  clip: (c, n: Node<never>) => {
    const a = n.attrs as { min: number; max: number };
    clipTo(c, n.inputs[0], n.outputs[0], c.typeOf(n.inputs[0]).dtype, a.min, a.max);
  },
  cast: withAttrs<{ to: DType }>('Cast', (a) => ({ to: ONNX_TYPE[a.to] })),
  add: plain('Add'), sub: plain('Sub'), mul: plain('Mul'), div: plain('Div'), pow: plain('Pow'), min: plain('Min'), max: plain('Max'),
  and: logical('And'), or: logical('Or'), xor: logical('Xor'), equal: plain('Equal'), less: plain('Less'), less_equal: plain('LessOrEqual'),
  mod: withAttrs<{ fmod: boolean }>('Mod', (a) => ({ fmod: flag(a.fmod) })),
  shift: withAttrs<{ right: boolean }>('BitShift', (a) => ({ direction: a.right ? 'RIGHT' : 'LEFT' })),
  select: plain('Where'),
  // ReduceMax/ReduceMin take their axes as an input since opset 18.
  reduce_sum: reduce('ReduceSum'), reduce_max: reduce('ReduceMax'), reduce_min: reduce('ReduceMin'), reduce_prod: reduce('ReduceProd'),
  arg_max: argReduce('ArgMax'), arg_min: argReduce('ArgMin'),
  softmax: withAttrs<Axis>('Softmax', (a) => ({ axis: a.axis })),
  log_softmax: withAttrs<Axis>('LogSoftmax', (a) => ({ axis: a.axis })),
  cumsum: (c, n: Node<never>) => {
    const a = n.attrs as Axis & { exclusive: boolean; reverse: boolean };
    c.emit('CumSum', [n.inputs[0], c.constant(scalar('i64', a.axis))], n.outputs, { exclusive: flag(a.exclusive), reverse: flag(a.reverse) });
  },
  topk: withInputs<Axis & { k: number; largest: boolean; sorted: boolean }>('TopK', (a) => [[a.k]], (a) => ({
    axis: a.axis, largest: flag(a.largest), sorted: flag(a.sorted),
  })),
  reshape: withInputs<{ shape: number[] }>('Reshape', (a) => [a.shape], () => ({ allowzero: 1 })),
  expand: withInputs<{ shape: number[] }>('Expand', (a) => [a.shape]),
  transpose: withAttrs<{ perm: number[] }>('Transpose', (a) => ({ perm: a.perm })),
  slice: (c, n: Node<never>) => {
    const a = n.attrs as { starts: number[]; steps: number[]; sizes: number[] };
    const ends = a.starts.map((s, i) => {
      const end = s + a.steps[i] * a.sizes[i];
      return a.steps[i] < 0 && end < 0 ? -(2 ** 31) : end;
    });
    c.emit('Slice', [n.inputs[0], i64(c, a.starts), i64(c, ends), i64(c, a.starts.map((_, i) => i)), i64(c, a.steps)], n.outputs);
  },
  concat: withAttrs<Axis>('Concat', (a) => ({ axis: a.axis })),
  pad: (c, n: Node<never>) => {
    const a = n.attrs as { pads: number[]; mode: string; value: number };
    c.emit('Pad', [n.inputs[0], i64(c, a.pads), c.constant(scalar(c.typeOf(n.inputs[0]).dtype, a.value))], n.outputs, { mode: a.mode });
  },
  gather: withAttrs<Axis>('Gather', (a) => ({ axis: a.axis })),
  gather_elements: withAttrs<Axis>('GatherElements', (a) => ({ axis: a.axis })),
  gather_nd: withAttrs<{ batchDims: number }>('GatherND', (a) => ({ batch_dims: a.batchDims })),
  scatter_elements: withAttrs<Axis & { reduction: string }>('ScatterElements', (a) => ({ axis: a.axis, reduction: a.reduction })),
  scatter_nd: withAttrs<{ reduction: string }>('ScatterND', (a) => ({ reduction: a.reduction })),
  conv: (c, n: Node<never>) => {
    const a = n.attrs as { strides: number[]; dilations: number[]; pads: number[]; group: number };
    activated(c, n, (out) => c.emit('Conv', n.inputs, [out], { strides: a.strides, dilations: a.dilations, pads: a.pads, group: a.group }));
  },
  conv_transpose: withAttrs<{ strides: number[]; dilations: number[]; pads: number[]; group: number; outputPadding: number[] }>('ConvTranspose', (a) => ({
    strides: a.strides, dilations: a.dilations, pads: a.pads, group: a.group, output_padding: a.outputPadding,
  })),
  ...FAKE_QUANTIZE,
  matmul: plain('MatMul'),
  linear: (c, n) =>
    activated(c, n, (out) => {
      const [x, w, b] = n.inputs;
      if (c.typeOf(x).shape.length === 2) return c.emit('Gemm', n.inputs, [out], { transB: 1 });
      const [wt, y] = [c.temp(), b === undefined ? out : c.temp()];
      c.emit('Transpose', [w], [wt], { perm: [1, 0] });
      c.emit('MatMul', [x, wt], [y]);
      if (b !== undefined) c.emit('Add', [y, b], [out]);
    }),
  max_pool: withAttrs<Window>('MaxPool', window),
  avg_pool: withAttrs<Window>('AveragePool', (a) => ({ ...window(a), count_include_pad: flag(a.countIncludePad ?? false) })),
  resize: (c, n: Node<never>) => {
    const a = n.attrs as {
      sizes: number[]; scales: number[]; mode: string; coordinates: string; nearest: string; cubicA: number;
      excludeOutside: boolean; antialias: boolean; roi: number[] | null; extrapolation: number;
    };
    const roi = a.roi ? c.constant(tensorOf('f32', [a.roi.length], a.roi)) : '';
    // Scales carry more than sizes (a fractional scale is not always out/in), but only one of the two may be given.
    const inShape = c.typeOf(n.inputs[0]).shape;
    const exact = a.sizes.every((s, i) => Math.floor(Math.fround(inShape[i] * Math.fround(a.scales[i]))) === s);
    const by = exact ? [roi, c.constant(tensorOf('f32', [a.scales.length], a.scales))] : [roi, '', i64(c, a.sizes)];
    c.emit('Resize', [n.inputs[0], ...by], n.outputs, {
      mode: a.mode, coordinate_transformation_mode: a.coordinates, nearest_mode: a.nearest, cubic_coeff_a: { float: a.cubicA },
      exclude_outside: flag(a.excludeOutside), antialias: flag(a.antialias), extrapolation_value: { float: a.extrapolation },
    });
  },
};
