/**
 * Text form of a graph; `parse.ts` reads it back.
 *
 * ```
 * graph lenet calibrated(%x "input:0": f32[1,1,28,28] calibrated u8 tensor s=0.0039 z=0) {
 *   %w = const @w : f32[8,1,3,3] calibrated i4 axis=0 s=@w.s
 *   %y = conv %x, %w {pads=[1,1,1,1]} : f32[1,8,28,28] candidates {u4 u8} tensor from "/conv1/Conv"
 *   return %y
 * }
 * ```
 * After the graph's name stands its phase unless it is float; after an id the ONNX name unless it equals the id; after `from` the
 * node's origin unless it is empty. Tensors of more than {@link INLINE_ELEMENTS} elements are named resources.
 */
import { fail } from '@bitloom/diagnostics';
import type { QuantParams, QuantScheme } from '@bitloom/numerics';
import { type Tensor, tensor } from '@bitloom/tensor';
import { type Graph, type Node, type Precision, type TensorType, type Value, isConst, valueOf } from './graph.js';
import { IdPool, isPrintableId } from './ids.js';

/** Constants and scales up to this many elements are printed in place. */
export const INLINE_ELEMENTS = 8;

export interface PrintedGraph {
  readonly text: string;
  /** Tensors that the text names as `@name`. */
  readonly resources: ReadonlyMap<string, Tensor>;
}

/** Words that are keys and names without quotes. */
export const isWord = (s: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(s);

const showNumber = (x: number): string => {
  if (Number.isNaN(x)) return 'nan';
  if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf';
  return Object.is(x, -0) ? '-0' : String(x);
};

/** Shortest decimal that rounds to the same f32. */
function showF32(x: number): string {
  for (let digits = 1; digits <= 9; digits++) {
    const s = Number(x.toPrecision(digits));
    if (Math.fround(s) === x) return showNumber(Object.is(x, -0) ? -0 : s);
  }
  return showNumber(x);
}

function showElements(t: Pick<Tensor, 'dtype' | 'data'>): string {
  return `[${Array.from(t.data as Iterable<number | bigint>, (v) => (typeof v === 'bigint' ? `${v}` : t.dtype === 'f32' ? showF32(v) : showNumber(v))).join(',')}]`;
}

/** Attribute values: numbers, strings, booleans, null, arrays and plain objects. @throws E901 for anything else */
function showAttr(v: unknown): string {
  if (v === null || typeof v === 'boolean') return String(v);
  if (typeof v === 'number') return showNumber(v);
  if (typeof v === 'string') return JSON.stringify(v);
  if (Array.isArray(v)) return `[${v.map(showAttr).join(',')}]`;
  if (typeof v === 'object' && Object.getPrototypeOf(v) === Object.prototype) return showAttrs(v);
  fail('E901', 'an attribute cannot be printed', { found: typeof v });
}

function showAttrs(attrs: object): string {
  const entries = Object.entries(attrs).filter(([, v]) => v !== undefined);
  return `{${entries.map(([k, v]) => `${isWord(k) ? k : JSON.stringify(k)}=${showAttr(v)}`).join(', ')}}`;
}

/** `f32[2,3]` */
export const printType = (t: TensorType): string => `${t.dtype}[${t.shape.join(',')}]`;

const showCode = (s: QuantScheme): string => `${s.signed ? 'i' : 'u'}${s.bits}`;
const showAxis = (s: QuantScheme): string => (s.axis === null ? 'tensor' : `axis=${s.axis}`);
/** `i4 axis=0`, `u8 tensor` */
export const printScheme = (s: QuantScheme): string => `${showCode(s)} ${showAxis(s)}`;

/** The graph as text, and the tensors the text refers to. @throws E901 for what no text can express, such as an attribute that is a function */
export function printGraph(g: Graph): PrintedGraph {
  const resources = new Map<string, Tensor>();
  const names = new IdPool();
  const resource = (name: string, t: Tensor): string => {
    const key = names.fresh(name);
    resources.set(key, t);
    return `@${key}`;
  };

  /** One element stands alone; few in brackets; many are a resource. */
  const numbers = (name: string, t: Tensor): string => {
    if (t.data.length > INLINE_ELEMENTS) return resource(name, t);
    const list = showElements(t);
    return t.data.length === 1 ? list.slice(1, -1) : list;
  };

  const calibrated = (id: string, { scheme, scale, zeroPoint }: QuantParams): string => {
    const s = numbers(`${id}.s`, tensor('f32', [scale.length], scale));
    const implied = scheme.signed && zeroPoint.length === scale.length && zeroPoint.every((z) => z === 0);
    return `${printScheme(scheme)} s=${s}${implied ? '' : ` z=${numbers(`${id}.z`, tensor('i32', [zeroPoint.length], zeroPoint))}`}`;
  };

  const candidates = (schemes: readonly QuantScheme[]): string => {
    const common = schemes.every((s) => s.axis === schemes[0].axis);
    return common && schemes.length > 0 ? `{${schemes.map(showCode).join(' ')}} ${showAxis(schemes[0])}` : `{${schemes.map(printScheme).join(' ')}}`;
  };

  const precision = (id: string, p: Precision): string => {
    switch (p.state) {
      case 'float':
        return '';
      case 'candidates':
        return ` candidates ${candidates(p.schemes)}`;
      case 'chosen':
        return ` chosen ${printScheme(p.scheme)}`;
      case 'calibrated':
        return ` calibrated ${calibrated(id, p.params)}`;
    }
  };

  const ref = (id: string): string =>
    (isPrintableId(id) ? `%${id}` : fail('E901', 'a value id cannot be printed', { found: id, expected: 'letters, digits, _ . $ -' }));
  const defined = (v: Value): string => (v.name === v.id ? ref(v.id) : `${ref(v.id)} ${JSON.stringify(v.name)}`);
  const typed = (v: Value): string => `${printType(v.type)}${precision(v.id, v.precision)}`;

  const node = (n: Node): string => {
    const outputs = n.outputs.map((o) => valueOf(g, o));
    const operands = isConst(n)
      ? ` ${n.attrs.data.data.length > INLINE_ELEMENTS ? resource(n.outputs[0], n.attrs.data) : `dense<${showElements(n.attrs.data)}>`}`
      : n.inputs.map((i, at) => `${at === 0 ? ' ' : ', '}${ref(i)}`).join('');
    const attrs = isConst(n) ? '{}' : showAttrs(n.attrs as object);
    const origin = n.origin === '' ? '' : ` from ${JSON.stringify(n.origin)}`;
    return `  ${outputs.map(defined).join(', ')} = ${n.op}${operands}${attrs === '{}' ? '' : ` ${attrs}`} : ${outputs.map(typed).join(', ')}${origin}\n`;
  };

  const name = isWord(g.name) ? g.name : JSON.stringify(g.name);
  const phase = g.phase === 'float' ? '' : ` ${g.phase}`;
  const inputs = g.inputs.map((i) => valueOf(g, i)).map((v) => `${defined(v)}: ${typed(v)}`);
  const text = `graph ${name}${phase}(${inputs.join(', ')}) {\n${g.nodes.map(node).join('')}  return${g.outputs.map((o, at) => `${at === 0 ? ' ' : ', '}${ref(o)}`).join('')}\n}\n`;
  return { text, resources };
}
