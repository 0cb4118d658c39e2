/** Quantised values in ONNX: QuantizeLinear and DequantizeLinear around the operators of a calibrated graph. */
import { type Graph, type Node, type ValueId, constantData, producers, valueOf } from '@bitloom/ir';
import { type QuantParams, codeRange, dequantizeValue, quantize, quantizeValue } from '@bitloom/numerics';
import { type Tensor, scalar, tensor } from '@bitloom/tensor';
import type { ExportContext } from './table.js';

const I32_MAX = 2 ** 31 - 1;

/** Prefix of the name under which the dequantised form of a value is read. */
const DEQUANTIZED = '$dq.';
export const idOf = (name: string): ValueId => (name.startsWith(DEQUANTIZED) ? name.slice(DEQUANTIZED.length) : name);

/** Quantisation in which a value is stored, null for floats. */
function quantOf(g: Graph, id: ValueId): QuantParams | null {
  const { precision } = valueOf(g, id);
  return precision.state === 'calibrated' ? precision.params : null;
}

const isLayer = (n: Node): boolean => n.op === 'conv' || n.op === 'linear';

/** True when quantisation does what a clip to [min, max] does. */
function impliesClip(q: QuantParams, a: { min: number; max: number }): boolean {
  const { lo, hi } = codeRange(q.scheme);
  const code = (x: number): number => quantizeValue(x, q.scale[0], q.zeroPoint[0], q.scheme);
  return code(a.min) === lo && code(a.max) === hi;
}

/** What QDQ form adds to the export of a graph. */
export class QdqWriter {
  private readonly producer;
  /** Whether all layers have eight bits, so that the int8 kernels of others may run the whole. */
  private readonly int8: boolean;
  constructor(private readonly g: Graph, private readonly context: ExportContext) {
    this.producer = producers(g);
    this.int8 = g.nodes.every((n) => !isLayer(n) || n.inputs.slice(0, 2).every((i) => quantOf(g, i)?.scheme.bits === 8));
  }

  private scales({ scale, scheme }: QuantParams): string {
    return this.context.constant(tensor('f32', scheme.axis === null ? [] : [scale.length], scale));
  }

  private codes(v: ArrayLike<number>, shape: readonly number[], { scheme }: QuantParams): string {
    return this.context.constant(scheme.signed ? tensor('i8', shape, Int8Array.from(v)) : tensor('u8', shape, Uint8Array.from(v)));
  }

  private zeros(q: QuantParams): string {
    return this.codes(q.zeroPoint, q.scheme.axis === null ? [] : [q.zeroPoint.length], q);
  }

  /** After an input or the node that makes an activation: its codes, and what is read of them. */
  activation(id: ValueId): void {
    const q = quantOf(this.g, id);
    if (!q) return;
    const parameters = [this.scales(q), this.zeros(q)];
    const { lo, hi } = codeRange(q.scheme);
    let from = id;
    if (hi - lo < 255) { // QuantizeLinear saturates to eight bits only
      const bound = (code: number): string => this.context.constant(scalar('f32', dequantizeValue(code, q.scale[0], q.zeroPoint[0])));
      from = this.context.temp();
      this.context.emit('Clip', [id, bound(lo), bound(hi)], [from]);
    }
    const codes = this.context.temp();
    this.context.emit('QuantizeLinear', [from, ...parameters], [codes]);
    this.context.emit('DequantizeLinear', [codes, ...parameters], [DEQUANTIZED + id]);
  }

  /** Name under which nodes read a value. */
  read = (id: ValueId): string => (quantOf(this.g, id) ? DEQUANTIZED + id : id);

  /** In place of a constant; false where it is not quantised. */
  constant(id: ValueId, data: Tensor): boolean {
    const q = quantOf(this.g, id);
    if (!q) return false;
    const codes = this.codes(quantize(data.data as Float32Array, data.shape, q), data.shape, q);
    this.context.emit('DequantizeLinear', [codes, this.scales(q), this.zeros(q)], [DEQUANTIZED + id], q.scheme.axis === null ? {} : { axis: q.scheme.axis });
    return true;
  }

  /** The node as it is to be written: it reads dequantised values, and leaves a clip to the quantisation that follows. */
  node(n: Node): Node {
    const inputs = n.inputs.map(this.read);
    if (!isLayer(n)) return { ...n, inputs };
    const [x, w, y] = [n.inputs[0], n.inputs[1], n.outputs[0]].map((i) => quantOf(this.g, i));
    const bias = n.inputs[2] === undefined ? null : constantData(this.producer, n.inputs[2]);
    // Integer kernels want biases as codes. Elsewhere they stay as bundles have them: the codes that rounded ones move, in a first layer of eight bits, made
    // 2.8 % of a W2A2 network's decisions others.
    if (this.int8 && x && w && bias) inputs[2] = this.bias(bias.data as Float32Array, x, w);
    const { activation } = n.attrs as { activation?: { min: number; max: number } | null };
    return y && activation && impliesClip(y, activation) ? { ...n, inputs, attrs: { ...(n.attrs as object), activation: null } } : { ...n, inputs };
  }

  /** A bias in units of the products of input and weight codes, as integer kernels add it. */
  private bias(b: Float32Array, x: QuantParams, w: QuantParams): string {
    const scale = b.map((_, c) => x.scale[0] * w.scale[w.scheme.axis === null ? 0 : c]);
    const codes = Int32Array.from(b, (v, c) => Math.min(I32_MAX, Math.max(-I32_MAX, Math.round(v / scale[c]))));
    const name = this.context.temp();
    const parameters = [tensor('i32', [b.length], codes), tensor('f32', [b.length], scale)].map((t) => this.context.constant(t));
    this.context.emit('DequantizeLinear', parameters, [name], { axis: 0 });
    return name;
  }
}
