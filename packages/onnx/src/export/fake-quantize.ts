/** Fake quantisers as ONNX nodes: with one step for all elements QuantizeLinear and DequantizeLinear, which onnxruntime runs twice as fast as Div, Round, Clip and Mul. */
import type { Node } from '@bitloom/ir';
import { type DType, scalar } from '@bitloom/tensor';
import type { ExportContext } from './table.js';

type Attrs = Readonly<Record<string, number>>;

/** Emits an operation into a temporary, or into `out`. */
const through = (c: ExportContext) => (opType: string, inputs: readonly string[], out = c.temp()): string => {
  c.emit(opType, inputs, [out]);
  return out;
};

/** Codes as bytes, where `lo` to `hi` fit them, else null. */
const codeType = (lo: number, hi: number): DType | null => (lo >= 0 && hi <= 255 ? 'u8' : lo >= -128 && hi <= 127 ? 'i8' : null);

/** x, clipped, to multiples of a step of rank 0. */
function quantized(c: ExportContext, x: string, step: string, type: DType, out: string): void {
  const zero = c.constant(scalar(type, 0));
  through(c)('DequantizeLinear', [through(c)('QuantizeLinear', [x, step, zero]), step, zero], out);
}

export const FAKE_QUANTIZE = {
  lsq(c: ExportContext, n: Node<never>): void {
    const { lo, hi } = n.attrs as Attrs;
    const [x, s, o] = n.inputs;
    const [out] = n.outputs;
    const op = through(c);
    const { dtype, shape } = c.typeOf(s);
    const constant = (v: number): string => c.constant(scalar(dtype, v));
    const type = codeType(lo, hi);
    if (type && o === undefined && shape.length === 0 && dtype === 'f32') {
      const bound = (code: number): string => (code === 0 ? constant(0) : op('Mul', [s, constant(code)]));
      return quantized(c, op('Clip', [x, bound(lo), bound(hi)]), s, type, out);
    }
    const code = op('Clip', [op('Round', [op('Div', [o === undefined ? x : op('Sub', [x, o]), s])]), constant(lo), constant(hi)]);
    if (o === undefined) op('Mul', [code, s], out);
    else op('Add', [op('Mul', [code, s]), o], out);
  },
  /** With steps of rank 0 codes are clipped as bytes, and pᵢ·sᵢ is the scale that makes them numbers. */
  mixed_lsq(c: ExportContext, n: Node<never>): void {
    const { quantizers } = n.attrs as { readonly quantizers: readonly Attrs[] };
    const [x, ...rest] = n.inputs;
    const op = through(c);
    const terms = quantizers.map(({ lo, hi }, i) => {
      const [s, p] = [rest[2 * i], rest[2 * i + 1]];
      const { dtype, shape } = c.typeOf(s);
      const type = codeType(lo, hi);
      if (!type || shape.length > 0 || dtype !== 'f32') {
        const code = op('Clip', [op('Round', [op('Div', [x, s])]), c.constant(scalar(dtype, lo)), c.constant(scalar(dtype, hi))]);
        return op('Mul', [op('Mul', [code, s]), p]);
      }
      const byte = (v: number): string => c.constant(scalar(type, v));
      return op('DequantizeLinear', [op('Clip', [op('QuantizeLinear', [x, s, byte(0)]), byte(lo), byte(hi)]), op('Mul', [s, p]), byte(0)]);
    });
    const sum = terms.slice(1, -1).reduce((all, t) => op('Add', [all, t]), terms[0]);
    if (terms.length === 1) op('Identity', [sum], n.outputs[0]);
    else op('Add', [sum, terms[terms.length - 1]], n.outputs[0]);
  },
  pact(c: ExportContext, n: Node<never>): void {
    const [x, alpha] = n.inputs;
    const op = through(c);
    const { dtype, shape } = c.typeOf(alpha);
    const constant = (v: number): string => c.constant(scalar(dtype, v));
    const step = op('Div', [alpha, constant(2 ** (n.attrs as Attrs).bits - 1)]);
    if (shape.length === 0 && dtype === 'f32') return quantized(c, op('Clip', [x, constant(0), alpha]), step, 'u8', n.outputs[0]);
    const clipped = op('Min', [op('Max', [x, constant(0)]), alpha]);
    op('Mul', [op('Round', [op('Div', [clipped, step])]), step], n.outputs[0]);
  },
  levels(c: ExportContext, n: Node<never>): void {
    const steps = c.constant(scalar(c.typeOf(n.inputs[0]).dtype, 2 ** (n.attrs as Attrs).bits - 1));
    const op = through(c);
    op('Div', [op('Round', [op('Mul', [n.inputs[0], steps])]), steps], n.outputs[0]);
  },
  power_of_two(c: ExportContext, n: Node<never>): void {
    const [x, s] = n.inputs;
    const op = through(c);
    const { dtype } = c.typeOf(x);
    const constant = (v: number): string => c.constant(scalar(dtype, v));
    const k = op('Round', [op('Div', [op('Log', [op('Div', [op('Abs', [x]), s])]), constant(Math.LN2)])]);
    const size = op('Mul', [s, op('Exp', [op('Mul', [op('Min', [k, constant(0)]), constant(Math.LN2)])])]);
    const signed = op('Where', [op('Less', [x, constant(0)]), op('Neg', [size]), size]);
    op('Where', [op('Greater', [k, constant(-(n.attrs as Attrs).octaves)]), signed, constant(0)], n.outputs[0]);
  },
  binarize(c: ExportContext, n: Node<never>): void {
    const [x, s] = n.inputs;
    const op = through(c);
    op('Where', [op('GreaterOrEqual', [x, c.constant(scalar(c.typeOf(x).dtype, 0))]), s, op('Neg', [s])], n.outputs[0]);
  },
};
