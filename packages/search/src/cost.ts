/** What an assignment costs, and budgets over it. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, typeOf } from '@bitloom/ir';
import { planeRowBytes } from '@bitloom/numerics';
import type { Layer } from '@bitloom/transforms';
import { type BitChoice, type SearchProblem, inputBitsOf } from './contract.js';

export type BudgetKind = 'size' | 'bops' | 'bits' | 'latency';

/** Predicted times of a network on one target, in ns. */
export interface LatencyModel {
  /** What no choice of bits changes: everything but the convolutions and fully connected layers, and what requantises streams for them. */
  readonly fixed: number;
  /** The whole network in f32. */
  readonly float: number;
  /** A layer's fastest kernel, and its share of what requantises the stream that it reads; 32 activation bits for layers whose input stays float. */
  layer(name: string, weightBits: number, activationBits: number): number;
}

/**
 * A limit on {@link choiceCost}.
 * - `size`: bytes of packed weights; - `bops`: Σ MACs·weight bits·activation bits; - `bits`: Σ parameters·weight bits;
 * - `latency`: ns of a run.
 */
export interface Budget {
  readonly kind: BudgetKind;
  readonly limit: number;
  /** As the user wrote it. */
  readonly text: string;
  /** Of the kind `latency`. */
  readonly latency: LatencyModel | null;
}

/** Bytes of a layer's weights at a bit-width, rows packed to whole bytes a plane. */
export function packedBytes(g: Graph, l: Layer, bits: number): number {
  if (bits === 32) return l.params * 4;
  const rows = typeOf(g, l.weight).shape[0];
  return rows * bits * planeRowBytes(l.params / rows);
}

export function layerCost(g: Graph, { kind, latency }: Pick<Budget, 'kind' | 'latency'>, l: Layer, weightBits: number, activationBits: number): number {
  switch (kind) {
    case 'size': return packedBytes(g, l, weightBits);
    case 'bits': return l.params * weightBits;
    case 'bops': return l.macs * weightBits * activationBits;
    case 'latency': return latency!.layer(l.name, weightBits, activationBits);
  }
}

/** Cost that no choice changes. */
export const fixedCost = (b: Pick<Budget, 'latency'>): number => b.latency?.fixed ?? 0;

/** Cost of a choice under the problem's budget kind. */
export function choiceCost(p: Pick<SearchProblem, 'graph' | 'layers' | 'groups' | 'budget'>, c: BitChoice): number {
  const inputBits = inputBitsOf(p, c);
  const budget = p.budget!;
  return p.layers.reduce((s, l) => s + layerCost(p.graph, budget, l, c.weights.get(l.name)!, inputBits(l)), fixedCost(budget));
}

const TIMES: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 };
const UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1e3, kb: 1e3, kib: 1024, m: 1e6, mb: 1e6, mib: 1024 ** 2, g: 1e9, t: 1e12 };

/** The kind that a budget names, if it names one. */
export const budgetKind = (text: string): string | undefined => /^\s*([a-z]+)\s*=/i.exec(text)?.[1].toLowerCase();

/**
 * Parses `size=40kB`, `size=12.5%` (of the float weights), `size=50%w8a8`, `bops=2.5G`, `bops=25%` (of W8A8), `bops=1%float`,
 * `bits=4` (average over weight parameters), `latency=3ms`, `latency=60%` (of W8A8), `latency=60%float`.
 * @param groups with `layers`: shares of a latency count layers without one as float
 * @param latency for budgets of that kind; null where only the syntax matters
 * @throws E101 when it reads otherwise
 */
export function parseBudget(
  text: string, g: Graph, { layers, groups }: Pick<SearchProblem, 'layers' | 'groups'>, latency: LatencyModel | null = null,
): Budget {
  const m = /^(size|bops|bits|latency)=([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)(%)?([a-z0-9]*)$/i.exec(text.trim());
  const refuse = (): never => fail('E101', 'budget does not parse', {
    found: text, expected: 'size=40kB, size=12.5%, bops=2G, bops=25%, bits=4, latency=3ms, latency=60%', remedy: 'see bitloom search --help',
  });
  if (!m) refuse();
  const kind = m![1].toLowerCase() as BudgetKind;
  const value = Number(m![2]);
  const suffix = m![4].toLowerCase();
  if (!(value > 0)) refuse();
  const budget = (limit: number): Budget => ({ kind, limit, text, latency });
  if (m![3]) {
    if (suffix !== '' && suffix !== 'float' && suffix !== 'w8a8') refuse();
    const ofFloat = suffix === 'float' || (suffix === '' && (kind === 'size' || kind === 'bits'));
    const share = value / 100;
    if (kind === 'latency' && (ofFloat || !latency)) return budget(share * (latency?.float ?? NaN));
    const read = new Set(groups.flatMap((a) => a.layers.map((l) => l.name)));
    const bits = ofFloat ? 32 : 8;
    const total = layers.reduce((s, l) => s + layerCost(g, { kind, latency }, l, bits, kind === 'latency' && !read.has(l.name) ? 32 : bits), 0);
    return budget(share * (total + fixedCost({ latency })));
  }
  if (kind === 'latency') return Object.hasOwn(TIMES, suffix) ? budget(value * TIMES[suffix]) : refuse();
  if (!Object.hasOwn(UNITS, suffix)) refuse();
  if (kind === 'bits') return suffix === '' ? budget(value * layers.reduce((s, l) => s + l.params, 0)) : refuse();
  return budget(value * UNITS[suffix]);
}

/** A cost in the words of the budget, rounded up, so that a budget of that text meets it. */
export function showCost(kind: BudgetKind, cost: number, layers: readonly Layer[]): string {
  if (kind === 'size') return `size=${Math.ceil(cost)}B`;
  const up = (v: number, digits: number): string => {
    const text = v.toFixed(digits);
    return Number(text) >= v ? text : (Number(text) + 10 ** -digits).toFixed(digits);
  };
  if (kind === 'latency') return cost < 1e5 ? `latency=${Math.ceil(cost)}ns` : `latency=${up(cost / 1e6, 4)}ms`;
  if (kind === 'bops') return `bops=${up(cost / 1e9, cost < 1e7 ? 9 : 4)}G`;
  return `bits=${up(cost / layers.reduce((s, l) => s + l.params, 0), 3)}`;
}
