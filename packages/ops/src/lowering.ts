/** Lowering of ops that bring constants of their own or ask for channels-last storage, and evaluation by running the result. */
import type { TensorType } from '@bitloom/ir';
import { NestBuilder, type View, convReference, runNest } from '@bitloom/kernel-spec';
import { fakeQuantize } from '@bitloom/numerics';
import { DTYPES, type Tensor, type TypedArray, allocate, rowMajorStrides } from '@bitloom/tensor';
import { type LowerInput, type Lowering, type NewConstant, type Operand, plainOperand } from './def.js';

/** Whether elements of neighbouring channels are neighbours. */
export const rowsOfChannels = (y: Pick<View, 'strides'>): boolean => y.strides[1] === 1;

/** Strides of a logical (N, C, spatial…) tensor stored as (N, spatial…, C). */
export function channelsLastStrides(shape: readonly number[]): number[] {
  const [n, spatial] = [shape[0], shape.slice(2)];
  const [batch, ...rest] = rowMajorStrides([n, ...spatial, shape[1]]);
  return [batch, 1, ...rest.slice(0, -1)];
}

/** Whether a view has these strides; axes of extent 1 may have any. */
export const hasStrides = (v: Pick<View, 'shape' | 'strides'>, strides: readonly number[]): boolean =>
  v.shape.every((n, a) => n <= 1 || v.strides[a] === strides[a]);

/** A nest over `args` (inputs by number, new constants row-major), then the node's outputs; `body` gets their views in that order. */
export function nestOver(
  n: LowerInput<unknown>,
  args: readonly (number | (NewConstant & { readonly strides?: readonly number[] }))[],
  body: (b: NestBuilder, args: readonly View[], outs: readonly View[]) => void,
): Lowering {
  const operands = [
    ...args.map((a) => (typeof a === 'number' ? n.inputs[a] : { quant: null, strides: rowMajorStrides(a.shape), ...a, elements: a.data.length })),
    ...n.outputs,
  ];
  const views = operands.map((o, operand) => ({ operand, dtype: o.dtype, shape: o.shape, strides: o.strides, quant: o.quant }));
  const b = new NestBuilder(operands.map((o) => ({ dtype: o.dtype, elements: o.elements })));
  body(b, views.slice(0, args.length), views.slice(args.length));
  return { body: { family: 'nest', params: b.build() }, args };
}

/** Real values of a constant operand as f32: the dequantised ones where it is a quantised weight. Null if it is not constant. */
export function realValues(o: Operand): Float32Array | null {
  if (!o.constant) return null;
  const data = o.constant.data as Float32Array;
  return o.weight ? fakeQuantize(data, o.shape, o.weight) : data;
}

/** Rows × columns matrices one after another, each transposed. */
function transposed(data: TypedArray, rows: number, columns: number): TypedArray {
  const out = data.slice();
  for (let base = 0; base < data.length; base += rows * columns) {
    for (let i = 0, at = base; i < rows; i++) for (let j = 0; j < columns; j++, at++) out[base + j * rows + i] = data[at];
  }
  return out;
}

/** Evaluates an op by running what it lowers to; with `channelsLast`, input 0 and output 0 are stored that way meanwhile. */
export function evaluateLowered<A>(
  lower: (n: LowerInput<A>) => Lowering, inputs: readonly Tensor[], attrs: A, outputs: readonly TensorType[], channelsLast: boolean,
): Tensor[] {
  const operand = (t: TensorType, i: number, constant: Tensor | null): Operand =>
    channelsLast && i === 0 ? { ...plainOperand(t), strides: channelsLastStrides(t.shape) } : plainOperand(t, constant);
  const ins = inputs.map((t, i) => operand(t, i, t));
  const { body, args } = lower({ attrs, inputs: ins, outputs: outputs.map((t, i) => operand(t, i, null)) });
  const positions = (shape: readonly number[]): number => shape.slice(2).reduce((p, n) => p * n, 1);
  const stored = inputs.map(({ data, shape }, i) => (channelsLast && i === 0 ? transposed(data, shape[1], positions(shape)) : data));
  const operands = args.map((a) => (typeof a === 'number' ? stored[a] : a.data));
  const results = outputs.map((t) => allocate(t.dtype, t.shape));
  if (body.family === 'conv') convReference(body.params, operands, results[0].data);
  else runNest(body.params, [...operands, ...results.map((t) => t.data)]);
  return results.map((t, i) => (channelsLast && i === 0 ? { ...t, data: transposed(t.data, positions(t.shape), t.shape[1]) } : t));
}

/** Constant of lowering with data of its element type. */
export const newConstant = (name: string, dtype: NewConstant['dtype'], shape: readonly number[], data: ArrayLike<number>): NewConstant => {
  const array = DTYPES[dtype].array as unknown as new (data: ArrayLike<number>) => TypedArray;
  return { name, dtype, shape, data: new array(data) };
};
