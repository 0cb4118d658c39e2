/** Reads the text form of `print.ts`. Types may be left out where the operation determines them. */
import { BitloomError, fail } from '@bitloom/diagnostics';
import { type QuantParams, type QuantScheme, isBits } from '@bitloom/numerics';
import { DTYPES, type DType, type Tensor, elementCount, is64, sameShape, tensor, tensorOf } from '@bitloom/tensor';
import type { OpTable } from './builder.js';
import { FLOAT, type Graph, type Node, PHASES, type Phase, type Precision, type TensorType, type Value, type ValueId } from './graph.js';
import { type Token, type TokenKind, position, tokenize } from './lexer.js';
import { printType } from './print.js';

/** Depth of brackets in an attribute; the parser recurses once per level. */
const MAX_DEPTH = 64;

const CLOSING: Readonly<Record<string, string>> = { '[': ']', '{': '}', '(': ')' };

const toNumber = ({ text }: Token): number => (text === 'inf' ? Infinity : text === '-inf' ? -Infinity : Number(text));

/** A cursor over the tokens, with the productions that need no graph. */
class Reader {
  private at = 0;
  private readonly tokens: readonly Token[];

  constructor(private readonly text: string) {
    this.tokens = tokenize(text);
  }

  get next(): Token {
    return this.tokens[this.at];
  }

  /** @throws E401 at a token */
  fail(at: Token, message: string, details: { found?: string; expected?: string } = {}, cause?: unknown): never {
    fail('E401', `${position(this.text, at.offset)}: ${message}`, details, cause);
  }

  expected(what: string): never {
    this.fail(this.next, `expected ${what}`, { found: this.next.kind === 'end' ? 'end of text' : this.next.text, expected: what });
  }

  /** Runs a check that throws other codes; its errors become E401 at a token. */
  located<T>(at: Token, check: () => T): T {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof BitloomError) || error.code === 'E401') throw error;
      const { message, found, expected } = error.diagnostic;
      this.fail(at, message, { found, expected }, error);
    }
  }

  is(kind: TokenKind, text?: string): boolean {
    return this.next.kind === kind && (text === undefined || this.next.text === text);
  }

  /** Takes the next token if it fits. */
  take(kind: TokenKind, text?: string): Token | null {
    return this.is(kind, text) ? this.tokens[this.at++] : null;
  }

  expect(kind: TokenKind, text?: string): Token {
    return this.take(kind, text) ?? this.expected(text ?? `a ${kind}`);
  }

  /** Items separated by commas up to the closing bracket of `open`. */
  list<T>(open: string, item: () => T): T[] {
    this.expect('punctuation', open);
    const items: T[] = [];
    if (this.take('punctuation', CLOSING[open])) return items;
    do items.push(item());
    while (this.take('punctuation', ','));
    this.expect('punctuation', CLOSING[open]);
    return items;
  }

  natural(): number {
    const at = this.expect('number');
    const n = toNumber(at);
    if (!Number.isSafeInteger(n) || n < 0) this.fail(at, 'expected a natural number', { found: at.text });
    return n;
  }

  /** Tokens of `[1,inf,…]`, or of one number; {@link elements} converts them once their type is known. */
  numberTokens(): Token[] {
    const one = (): Token => this.take('word', 'nan') ?? this.take('word', 'inf') ?? this.expect('number');
    return this.is('punctuation', '[') ? this.list('[', one) : [one()];
  }

  /** Numbers of a tensor; 64-bit integers keep all digits. */
  elements(tokens: readonly Token[], dtype: DType): (number | bigint)[] {
    const { kind, bytes } = DTYPES[dtype];
    return tokens.map((at) => {
      if (kind === 'float') return toNumber(at);
      if (!/^-?\d+$/.test(at.text)) this.fail(at, `expected an integer for ${dtype}`, { found: at.text });
      const v = BigInt(at.text);
      const bits = dtype === 'bool' ? 1 : 8 * bytes;
      if (v !== (kind === 'int' ? BigInt.asIntN(bits, v) : BigInt.asUintN(bits, v))) this.fail(at, `out of range for ${dtype}`, { found: at.text });
      return is64(dtype) ? v : Number(v);
    });
  }

  type(): TensorType {
    const at = this.next;
    const { text } = this.expect('word');
    if (!Object.hasOwn(DTYPES, text)) this.fail(at, 'unknown element type', { found: text, expected: Object.keys(DTYPES).join(', ') });
    const shape = this.list('[', () => this.natural());
    this.located(at, () => elementCount(shape));
    return { dtype: text as DType, shape };
  }

  attr(depth: number): unknown {
    if (depth > MAX_DEPTH) this.fail(this.next, 'attribute nested too deeply', { expected: `at most ${MAX_DEPTH} levels` });
    const string = this.take('string');
    if (string) return string.text;
    if (this.is('punctuation', '[')) return this.list('[', () => this.attr(depth + 1));
    if (this.is('punctuation', '{')) return this.attrs(depth + 1);
    for (const [word, value] of [['true', true], ['false', false], ['null', null]] as const) if (this.take('word', word)) return value;
    return toNumber(this.take('number') ?? this.take('word', 'inf') ?? this.take('word', 'nan') ?? this.expected('an attribute value'));
  }

  attrs(depth = 0): object {
    const keys = new Set<string>();
    const entries = this.list('{', (): readonly [string, unknown] => {
      const key = this.take('string') ?? this.expect('word');
      if (keys.has(key.text)) this.fail(key, `attribute ${key.text} is given twice`);
      keys.add(key.text);
      this.expect('punctuation', '=');
      return [key.text, this.attr(depth)];
    });
    // fromEntries defines own properties, so a key `__proto__` does no harm.
    return Object.fromEntries(entries);
  }

  axis(): number | null {
    if (this.take('word', 'tensor')) return null;
    this.expect('word', 'axis');
    this.expect('punctuation', '=');
    return this.natural();
  }

  private codes(): Pick<QuantScheme, 'bits' | 'signed'> {
    const at = this.next;
    const { text } = this.expect('word');
    const bits = Number(/^[iu](\d)$/.exec(text)?.[1]);
    if (!isBits(bits)) this.fail(at, 'malformed scheme', { found: text, expected: 'i1 … i8 or u1 … u8' });
    return { bits, signed: text.startsWith('i') };
  }

  scheme(): QuantScheme {
    return { ...this.codes(), axis: this.axis() };
  }

  /** `{u4 u8} tensor`, or `{i4 axis=0 i8 tensor}` where axes differ. */
  candidates(): QuantScheme[] {
    this.expect('punctuation', '{');
    const found: (Pick<QuantScheme, 'bits' | 'signed'> & { axis?: number | null })[] = [];
    const isAxis = (): boolean => this.is('word', 'axis') || this.is('word', 'tensor');
    while (!this.take('punctuation', '}')) {
      const codes = this.codes();
      found.push(isAxis() ? { ...codes, axis: this.axis() } : codes);
    }
    const common = found.some((s) => s.axis === undefined) || (found.length > 0 && isAxis()) ? this.axis() : null;
    return found.map(({ bits, signed, axis }) => ({ bits, signed, axis: axis === undefined ? common : axis }));
  }
}

/**
 * The graph of a text.
 * @param ops infers and checks the type of every result
 * @param resources tensors that the text names with @
 * @throws E401 with line and column for anything malformed
 */
export function parseGraph(text: string, ops: OpTable, resources: ReadonlyMap<string, Tensor> = new Map()): Graph {
  const r = new Reader(text);
  const values = new Map<ValueId, Value>();
  const nodes: Node[] = [];

  const resource = (): Tensor => {
    const at = r.expect('resource');
    return resources.get(at.text) ?? r.fail(at, `there is no resource @${at.text}`);
  };

  const numbers = (dtype: 'f32' | 'i32'): Tensor => {
    const at = r.next;
    if (r.is('resource')) {
      const t = resource();
      if (t.dtype !== dtype || t.shape.length !== 1) r.fail(at, 'resource of another type', { found: printType(t), expected: `${dtype} vector` });
      return t;
    }
    const list = r.elements(r.numberTokens(), dtype);
    return tensorOf(dtype, [list.length], list);
  };

  const calibrated = (): QuantParams => {
    const scheme = r.scheme();
    r.expect('word', 's');
    r.expect('punctuation', '=');
    const scale = numbers('f32').data as Float32Array;
    if (!r.take('word', 'z')) return { scheme, scale, zeroPoint: new Int32Array(scale.length) };
    r.expect('punctuation', '=');
    return { scheme, scale, zeroPoint: numbers('i32').data as Int32Array };
  };

  const precision = (): Precision => {
    if (r.take('word', 'candidates')) return { state: 'candidates', schemes: r.candidates() };
    if (r.take('word', 'chosen')) return { state: 'chosen', scheme: r.scheme() };
    if (r.take('word', 'calibrated')) return { state: 'calibrated', params: calibrated() };
    return FLOAT;
  };

  const definition = (): { readonly id: Token; readonly name: string } => {
    const id = r.expect('value');
    return { id, name: r.take('string')?.text ?? id.text };
  };

  const define = ({ id, name }: { id: Token; name: string }, type: TensorType, p: Precision): void => {
    if (values.has(id.text)) r.fail(id, `%${id.text} is defined twice`);
    values.set(id.text, { id: id.text, name, type, precision: p });
  };

  const use = (): ValueId => {
    const { text: id } = r.next;
    if (r.is('value') && !values.has(id)) r.fail(r.next, `%${id} is not defined here`);
    return r.expect('value').text;
  };

  const uses = (): ValueId[] => {
    const ids: ValueId[] = [];
    if (!r.is('value')) return ids;
    do ids.push(use());
    while (r.take('punctuation', ','));
    return ids;
  };

  const typed = (): { readonly at: Token; readonly type: TensorType; readonly precision: Precision } =>
    ({ at: r.next, type: r.type(), precision: precision() });

  /** Data after `const`: a resource, or `dense<[…]>` whose elements are read once the type behind them is known. */
  const constant = (): ((t: TensorType) => Tensor) => {
    const at = r.next;
    if (r.is('resource')) {
      const data = resource();
      return (t) => {
        if (data.dtype === t.dtype && sameShape(data.shape, t.shape)) return data;
        return r.fail(at, 'resource of another type', { found: printType(data), expected: printType(t) });
      };
    }
    r.expect('word', 'dense');
    r.expect('punctuation', '<');
    const list = r.numberTokens();
    r.expect('punctuation', '>');
    return (t) => r.located(at, () => tensor(t.dtype, t.shape, tensorOf(t.dtype, [list.length], r.elements(list, t.dtype)).data));
  };

  const statement = (): void => {
    const outs = [definition()];
    while (r.take('punctuation', ',')) outs.push(definition());
    r.expect('punctuation', '=');
    const op = r.expect('word');
    const data = op.text === 'const' ? constant() : null;
    const inputs = data ? [] : uses();
    const written = !data && r.is('punctuation', '{') ? r.attrs() : {};
    const stated = r.take('punctuation', ':') || data ? outs.map((_, i) => (i > 0 && r.expect('punctuation', ','), typed())) : null;
    const attrs = data ? { data: data(stated![0].type) } : written;
    const origin = r.take('word', 'from') ? r.expect('string').text : '';
    const types = r.located(op, () => ops.infer(op.text, inputs.map((i) => values.get(i)!.type), attrs, origin));
    if (types.length !== outs.length) r.fail(op, `${op.text} has ${types.length} results`, { found: `${outs.length}` });
    stated?.forEach(({ at, type }, i) => {
      if (type.dtype !== types[i].dtype || !sameShape(type.shape, types[i].shape)) {
        r.fail(at, `type of %${outs[i].id.text} is not what ${op.text} gives`, { found: printType(type), expected: printType(types[i]) });
      }
    });
    outs.forEach((o, i) => define(o, types[i], stated?.[i].precision ?? FLOAT));
    nodes.push({ op: op.text, inputs, outputs: outs.map((o) => o.id.text), attrs, origin });
  };

  r.expect('word', 'graph');
  const name = (r.take('string') ?? r.expect('word')).text;
  const phaseAt = r.take('word');
  const noPhase = (at: Token): never => r.fail(at, 'unknown phase', { found: at.text, expected: PHASES.join(', ') });
  const phase: Phase = phaseAt ? (PHASES.find((p) => p === phaseAt.text) ?? noPhase(phaseAt)) : 'float';
  const inputs = r.list('(', () => {
    const d = definition();
    r.expect('punctuation', ':');
    const t = typed();
    define(d, t.type, t.precision);
    return d.id.text;
  });
  r.expect('punctuation', '{');
  while (!r.take('word', 'return')) statement();
  const outputs = uses();
  r.expect('punctuation', '}');
  if (!r.is('end')) r.expected('end of text');
  return { name, phase, values, nodes, inputs, outputs };
}
