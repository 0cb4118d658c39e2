/**
 * Measured times: what calls took on a machine, and coefficients fitted to such measurements for calls that were never timed.
 * All times are ns of one call.
 */
import { createHash } from 'node:crypto';
import { fail } from '@bitloom/diagnostics';
import { type ConvParams, type Expr, type Nest, type Stmt, convK, convMacs, hasFewCodes } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { z } from 'zod';
import { alignUp } from './memory.js';
import type { KernelVariant } from './variant.js';

type Times = Map<string, number>;

/**
 * Everything is keyed by backend: `wasm`, `wasm-scalar`, `c`. Convolutions: `BACKEND VARIANT` → {@link convKey} → ns. Nests:
 * `BACKEND` → {@link nestKey} → ns. Fits: `BACKEND VARIANT` → {@link fitKey}, or `BACKEND nest` → `all`, → coefficients.
 */
export class CostTable {
  /** Processor and engine or compiler, by backend. */
  readonly machine = new Map<string, string>();
  readonly convs = new Map<string, Times>();
  readonly nests = new Map<string, Times>();
  readonly fits = new Map<string, Map<string, readonly number[]>>();

  setConv(backend: string, variant: string, key: string, ns: number): void {
    entry(this.convs, `${backend} ${variant}`).set(key, ns);
  }
  setNest(backend: string, key: string, ns: number): void {
    entry(this.nests, backend).set(key, ns);
  }
  setFit(backend: string, variant: string, key: string, coefficients: readonly number[]): void {
    entry(this.fits, `${backend} ${variant}`).set(key, coefficients);
  }
}

function entry<V>(all: Map<string, Map<string, V>>, key: string): Map<string, V> {
  const found = all.get(key) ?? new Map<string, V>();
  all.set(key, found);
  return found;
}

const pairOf = (p: ConvParams): string => (p.kind === 'int' ? `w${p.weightBits}a${p.activationBits}` : 'f32');

/** All that the time of a call depends on; calls that differ in zero points or clamping bounds alone share a key, but for {@link hasFewCodes}. */
export const convKey = (p: ConvParams): string =>
  `${pairOf(p)} ${p.batch}x${p.inH}x${p.inW}x${p.inC}>${p.outH}x${p.outW}x${p.outC} k${p.kH}x${p.kW} s${p.strideH}x${p.strideW} p${p.padT}x${p.padL} ` +
  `d${p.dilH}x${p.dilW} g${p.groups} ${hasFewCodes(p) ? 'few' : p.output}`;

const KEY = /^(f32|w([1-8])a([1-8])) (\d+)x(\d+)x(\d+)x(\d+)>(\d+)x(\d+)x(\d+) k(\d+)x(\d+) s(\d+)x(\d+) p(\d+)x(\d+) d(\d+)x(\d+) g(\d+) (few|codes|f32)$/;

/** Parameters with that key, as far as it tells; null for what is no key. */
export function paramsOfKey(key: string): ConvParams | null {
  const m = KEY.exec(key);
  if (!m) return null;
  const [batch, inH, inW, inC, outH, outW, outC, kH, kW, strideH, strideW, padT, padL, dilH, dilW, groups] = m.slice(4).map(Number);
  const int = m[1] !== 'f32';
  const bits = (text: string): Bits | null => (int ? (Number(text) as Bits) : null);
  return {
    kind: int ? 'int' : 'f32', weightBits: bits(m[2]), activationBits: bits(m[3]), output: m[20] === 'f32' ? 'f32' : 'codes', xZero: 0, lo: 0, hi: m[20] === 'few' ? 3 : 255,
    batch, inH, inW, inC, outH, outW, outC, kH, kW, strideH, strideW, padT, padL, dilH, dilW, groups,
  };
}

/**
 * Hash of a nest up to the constants that it computes with: other scales, bounds and zero points (which may be absent) are as fast.
 * Extents and index arithmetic count.
 */
export function nestKey(n: Nest): string {
  const skeleton = (e: Expr): Expr => {
    switch (e.k) {
      case 'const': return { ...e, v: 0 };
      case 'un': case 'cast': return { ...e, x: skeleton(e.x) };
      case 'bin':
        if (e.t === 'i32' && (e.op === 'add' || e.op === 'sub') && e.b.k === 'const') return skeleton(e.a);
        return { ...e, a: skeleton(e.a), b: skeleton(e.b) };
      case 'cmp': return { ...e, a: skeleton(e.a), b: skeleton(e.b) };
      case 'sel': return { ...e, c: skeleton(e.c), a: skeleton(e.a), b: skeleton(e.b) };
      case 'call': return { ...e, args: e.args.map(skeleton) };
      default: return e; // variables; loads keep their index
    }
  };
  const block = (body: readonly Stmt[]): readonly Stmt[] => body.map((s): Stmt => {
    switch (s.s) {
      case 'for': return { ...s, body: block(s.body) };
      // Integers may be indices.
      case 'let': case 'set': return s.x.t === 'i32' ? s : { ...s, x: skeleton(s.x) };
      case 'store': return { ...s, x: skeleton(s.x) };
      case 'if': return { ...s, then: block(s.then), else: block(s.else) };
    }
  });
  const text = JSON.stringify([n.operands, block(n.body)], (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v));
  return createHash('sha256').update(text).digest('hex').slice(0, 20);
}

// ---- estimates for what was never timed

/** Length of {@link convFeatures}. */
const CONV_FEATURES = 10;

/** Of a kernel variant, what names it in tables and what it thinks that it takes. */
type Kernel = Pick<KernelVariant, 'name' | 'cost'>;

const pixelsOf = (p: ConvParams): number => p.batch * p.outH * p.outW;

/**
 * What the time of a convolution may be proportional to; fits hold a coefficient for each. The kernel's own estimate knows its tiles;
 * with it, of shapes left out of the fit in turn, the median error is 8 % in place of 9 %.
 */
export function convFeatures(v: Kernel, p: ConvParams): readonly number[] {
  const pixels = pixelsOf(p);
  const k = convK(p);
  return [
    1, // call
    pixels,
    p.batch * p.inH * p.inW * p.inC, // elements converted, once each
    pixels * p.groups * k, // elements gathered, once a window
    convMacs(p),
    pixels * p.groups * k * alignUp(p.outC / p.groups, 32), // lanes used and unused
    pixels * p.outC, // outputs
    hasFewCodes(p) ? 0 : pixels * p.outC, // outputs of many values
    p.outC * k, // weights read
    v.cost(p),
  ];
}

/** Bit pair and form of the loop: kinds of layers whose times follow different lines. */
export const fitKey = (p: ConvParams): string => `${pairOf(p)} ${formOf(p)}`;

/**
 * Keys of fits that may serve, best first: the parameters' own, then those of more bits. Fits to few bits would promise too much, and
 * kernels' own estimates are of another machine.
 */
function fitKeys(p: ConvParams): readonly string[] {
  if (p.kind !== 'int') return [fitKey(p)];
  const [w, a, form] = [p.weightBits!, p.activationBits!, formOf(p)];
  const pairs = Array.from({ length: (9 - w) * (9 - a) }, (_, i) => [w + Math.floor(i / (9 - a)), a + (i % (9 - a))]);
  return pairs.sort((x, y) => x[0] + x[1] - y[0] - y[1]).map(([x, y]) => `w${x}a${y} ${form}`);
}

function formOf(p: ConvParams): string {
  const cg = p.inC / p.groups;
  return cg === 1 && p.groups === p.outC && p.groups > 1 ? (pixelsOf(p) < 4 ? 'global depthwise' : 'depthwise')
    : p.groups > 1 ? 'grouped'
    : pixelsOf(p) < 4 ? 'vector'
    : p.kH * p.kW === 1 ? 'pointwise'
    : cg < 16 ? 'narrow'
    : 'window';
}

/** Executions of each kind of operation in a nest; loops of unknown extent count once. */
export function nestFeatures(n: Nest): readonly number[] {
  const [LOOP, LOAD, STORE, OP, SLOW] = [1, 2, 3, 4, 5];
  const count = [1, 0, 0, 0, 0, 0]; // the first is the call
  const SLOW_OPS: ReadonlySet<string> = new Set(['div', 'rem', 'sqrt']);
  const expr = (e: Expr, times: number): void => {
    switch (e.k) {
      case 'load':
        count[LOAD] += times;
        return expr(e.at, times);
      case 'un':
      case 'cast':
        count[e.k === 'un' && SLOW_OPS.has(e.op) ? SLOW : OP] += times;
        return expr(e.x, times);
      case 'bin':
      case 'cmp':
        count[SLOW_OPS.has(e.op) ? SLOW : OP] += times;
        return [e.a, e.b].forEach((x) => expr(x, times));
      case 'sel':
        count[OP] += times;
        return [e.c, e.a, e.b].forEach((x) => expr(x, times));
      case 'call':
        count[SLOW] += 4 * times;
        return e.args.forEach((x) => expr(x, times));
    }
  };
  const block = (body: readonly Stmt[], times: number): void => body.forEach((s) => {
    switch (s.s) {
      case 'for': {
        const n = s.n.k === 'const' ? Number(s.n.v) : 1;
        count[LOOP] += times * n;
        return block(s.body, times * n);
      }
      case 'let':
      case 'set':
        return expr(s.x, times);
      case 'store':
        count[STORE] += times;
        return [s.at, s.x].forEach((x) => expr(x, times));
      case 'if':
        expr(s.c, times);
        return [s.then, s.else].forEach((b) => block(b, times / 2));
    }
  });
  block(n.body, 1);
  return count;
}

/** One timed call: features and ns. */
export interface Timed {
  readonly features: readonly number[];
  readonly ns: number;
}

/** Scaled coefficients below are rounding. */
const NEGLIGIBLE = 1e-6;

/**
 * Coefficients ≥ 0 with the least sum of squared relative errors Σ (Σⱼ cⱼ·fᵢⱼ / nsᵢ − 1)², by cyclic coordinate descent (the problem
 * is convex). Rounded to four digits; empty without measurements.
 */
export function fitCoefficients(timed: readonly Timed[]): number[] {
  const n = timed[0]?.features.length ?? 0;
  const scale = Array.from({ length: n }, (_, j) => Math.sqrt(timed.reduce((s, t) => s + (t.features[j] / t.ns) ** 2, 0)) || 1);
  const rows = timed.map((t) => t.features.map((f, j) => f / t.ns / scale[j]));
  const gram = scale.map((_, i) => scale.map((__, j) => rows.reduce((s, r) => s + r[i] * r[j], 0)));
  const aim = scale.map((_, j) => rows.reduce((s, r) => s + r[j], 0));
  const c = new Array<number>(n).fill(0);
  for (let sweep = 0; sweep < 4000; sweep++) {
    for (let j = 0; j < n; j++) {
      if (gram[j][j] === 0) continue;
      const rest = gram[j].reduce((s, g, k) => (k === j ? s : s + g * c[k]), 0);
      c[j] = Math.max(0, (aim[j] - rest) / gram[j][j]);
    }
  }
  return c.map((v, j) => (v < NEGLIGIBLE ? 0 : Number((v / scale[j]).toPrecision(4))));
}

/** Shapes of one kind below which nothing is fitted. */
const LEAST_SHAPES = 10;

/**
 * Fits coefficients to the measured convolutions of a backend, and to the nests of which features are given (by key).
 * What too few shapes were timed for keeps the fit that it has.
 */
export function fitTable(t: CostTable, backend: string, kernels: Iterable<Kernel>, nests: ReadonlyMap<string, readonly number[]> = new Map()): void {
  for (const v of kernels) {
    const times = t.convs.get(`${backend} ${v.name}`) ?? [];
    const forms = new Map<string, Timed[]>();
    for (const [key, ns] of times) {
      const p = paramsOfKey(key);
      if (p) forms.set(fitKey(p), [...(forms.get(fitKey(p)) ?? []), { features: convFeatures(v, p), ns }]);
    }
    for (const [form, timed] of forms) if (timed.length >= LEAST_SHAPES) t.setFit(backend, v.name, form, fitCoefficients(timed));
  }
  const timed = [...(t.nests.get(backend) ?? [])].flatMap(([key, ns]): Timed[] => (nests.has(key) ? [{ features: nests.get(key)!, ns }] : []));
  if (timed.length >= LEAST_SHAPES) t.setFit(backend, 'nest', 'all', fitCoefficients(timed));
}

const estimate = (coefficients: readonly number[], features: readonly number[]): number =>
  coefficients.reduce((s, c, j) => s + c * features[j], 0);

/** A time in ns; `measured` when the very call was timed. */
export interface Cost {
  readonly ns: number;
  readonly measured: boolean;
}

/** Times on one backend. */
export interface CostModel {
  conv(v: Kernel, p: ConvParams): Cost;
  nest(n: Nest): Cost;
}

/** ns of a nest's operations where nothing is known of the machine: call, loop, load, store, operation, slow operation. */
const NEST_RATES = [20, 0.3, 0.3, 0.3, 0.3, 3];

/**
 * Costs from tables, the first that knows a call; else from their fits, else from the variant's own formula. No kernel takes longer for fewer bits
 * than it would if it were told of more, so that of fits to a layer's own bits and to the most bits the lower one holds: many kernels do the same
 * for all bits, and times of small layers differ by chance.
 */
export function costModel(backend: string, tables: readonly CostTable[]): CostModel {
  const first = <T>(look: (t: CostTable) => T | undefined): T | undefined => {
    for (const t of tables) {
      const found = look(t);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return {
    conv(v, p) {
      const id = `${backend} ${v.name}`;
      const key = convKey(p);
      const ns = first((t) => t.convs.get(id)?.get(key));
      if (ns !== undefined) return { ns, measured: true };
      const estimated = first((t) => {
        const fits = t.fits.get(id);
        const of = fits ? fitKeys(p).flatMap((k) => (fits.has(k) ? [fits.get(k)!] : [])) : [];
        return of.length ? Math.min(...[of[0], of.at(-1)!].map((fit) => estimate(fit, convFeatures(v, p)))) : undefined;
      });
      return { ns: estimated ?? v.cost(p), measured: false };
    },
    nest(n) {
      const key = nestKey(n);
      const ns = first((t) => t.nests.get(backend)?.get(key));
      if (ns !== undefined) return { ns, measured: true };
      const fit = first((t) => t.fits.get(`${backend} nest`)?.get('all'));
      return { ns: estimate(fit ?? NEST_RATES, nestFeatures(n)), measured: false };
    },
  };
}

// ---- files

export const COSTS_VERSION = 2;
const MAX_TEXT = 2 ** 26;

const name = z.string().min(1).max(300);
const ns = z.number().positive().max(1e15);
const schema = z.strictObject({
  version: z.literal(COSTS_VERSION),
  machine: z.record(name, z.string().max(300)),
  convs: z.record(name, z.record(name, ns)),
  nests: z.record(name, z.record(name, ns)),
  fits: z.record(name, z.record(name, z.array(z.number().nonnegative().max(1e15)).max(16))),
});

/** Reads a table. @param where file, for messages @throws E503 */
export function parseCostTable(text: string, where: string): CostTable {
  const remedy = 'make one with bitloom tune -o';
  if (text.length > MAX_TEXT) fail('E503', 'the cost table is too large', { node: where, found: `${text.length} bytes`, expected: `at most ${MAX_TEXT}` });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    return fail('E503', 'the cost table is not JSON', { node: where, found: (cause as Error).message, remedy }, cause);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return fail('E503', 'the cost table is malformed', { node: [where, issue.path.join('.')].filter(Boolean).join(': '), found: issue.message, remedy });
  }
  const { machine, convs, nests, fits } = parsed.data;
  for (const [id, of] of Object.entries(fits)) {
    const size = id.endsWith(' nest') ? NEST_RATES.length : CONV_FEATURES;
    for (const [key, c] of Object.entries(of)) {
      if (c.length !== size) fail('E503', 'the cost table is malformed', { node: `${where}: ${id}: ${key}`, found: `${c.length} coefficients`, expected: String(size), remedy });
    }
  }
  const table = new CostTable();
  Object.entries(machine).forEach(([k, v]) => table.machine.set(k, v));
  for (const [from, to] of [[convs, table.convs], [nests, table.nests], [fits, table.fits]] as const) {
    for (const [id, of] of Object.entries(from)) (to as Map<string, Map<string, unknown>>).set(id, new Map(Object.entries(of)));
  }
  return table;
}

/** The file of a table: keys in order, one entry a line. */
export function costTableText(t: CostTable): string {
  const sorted = <V>(m: ReadonlyMap<string, V>): [string, V][] => [...m].sort(([a], [b]) => (a < b ? -1 : 1));
  const plain = <V>(m: ReadonlyMap<string, ReadonlyMap<string, V>>): object => Object.fromEntries(sorted(m).map(([k, of]) => [k, Object.fromEntries(sorted(of))]));
  const json = { version: COSTS_VERSION, machine: Object.fromEntries(sorted(t.machine)), convs: plain(t.convs), nests: plain(t.nests), fits: plain(t.fits) };
  return `${JSON.stringify(json, null, 1).replace(/\[\s+([\d.,e+\s-]*?)\s+\]/g, (_, numbers: string) => `[${numbers.replace(/\s+/g, ' ')}]`)}\n`;
}
