/** What an assignment costs, and budgets over it. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, typeOf } from '@bitloom/ir';
import { planeRowBytes } from '@bitloom/numerics';
import type { Layer } from '@bitloom/transforms';
import { type BitChoice, type SearchProblem, inputBitsOf } from './contract.js';

export type BudgetKind = 'size' | 'bops' | 'bits';

/**
 * A limit on the sum over layers of {@link layerCost}.
 * - `size`: bytes of packed weights; - `bops`: Σ MACs·weight bits·activation bits; - `bits`: Σ parameters·weight bits.
 */
export interface Budget {
  readonly kind: BudgetKind;
  readonly limit: number;
  /** As the user wrote it. */
  readonly text: string;
}

/** Bytes of a layer's weights at a bit-width, rows packed to whole bytes a plane. */
export function packedBytes(g: Graph, l: Layer, bits: number): number {
  if (bits === 32) return l.params * 4;
  const rows = typeOf(g, l.weight).shape[0];
  return rows * bits * planeRowBytes(l.params / rows);
}

export function layerCost(g: Graph, kind: BudgetKind, l: Layer, weightBits: number, activationBits: number): number {
  if (kind === 'size') return packedBytes(g, l, weightBits);
  return kind === 'bits' ? l.params * weightBits : l.macs * weightBits * activationBits;
}

/** Cost of a choice under the problem's budget kind. */
export function choiceCost(p: Pick<SearchProblem, 'graph' | 'layers' | 'groups' | 'budget'>, c: BitChoice): number {
  const inputBits = inputBitsOf(p, c);
  return p.layers.reduce((s, l) => s + layerCost(p.graph, p.budget!.kind, l, c.weights.get(l.name)!, inputBits(l)), 0);
}

const UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1e3, kb: 1e3, kib: 1024, m: 1e6, mb: 1e6, mib: 1024 ** 2, g: 1e9, t: 1e12 };

/**
 * Parses `size=40kB`, `size=12.5%` (of the float weights), `size=50%w8a8`, `bops=2.5G`, `bops=25%` (of W8A8), `bops=1%float`,
 * `bits=4` (average over weight parameters).
 * @throws E101 when it reads otherwise
 */
export function parseBudget(text: string, g: Graph, layers: readonly Layer[]): Budget {
  const m = /^(size|bops|bits)=([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)(%)?([a-z0-9]*)$/i.exec(text.trim());
  const refuse = (): never => fail('E101', 'budget does not parse', {
    found: text, expected: 'size=40kB, size=12.5%, bops=2G, bops=25%, bits=4', remedy: 'see bitloom search --help',
  });
  if (!m) refuse();
  const kind = m![1].toLowerCase() as BudgetKind;
  const value = Number(m![2]);
  const suffix = m![4].toLowerCase();
  if (!(value > 0)) refuse();
  const total = (w: number, a: number): number => layers.reduce((s, l) => s + layerCost(g, kind, l, w, a), 0);
  if (m![3]) {
    if (suffix !== '' && suffix !== 'float' && suffix !== 'w8a8') refuse();
    const ofFloat = suffix === 'float' || (suffix === '' && kind !== 'bops');
    return { kind, limit: (value / 100) * (ofFloat ? total(32, 32) : total(8, 8)), text };
  }
  if (!Object.hasOwn(UNITS, suffix)) refuse();
  if (kind === 'bits') return suffix === '' ? { kind, limit: value * layers.reduce((s, l) => s + l.params, 0), text } : refuse();
  return { kind, limit: value * UNITS[suffix], text };
}

/** A cost in the words of the budget, rounded up, so that a budget of that text meets it. */
export function showCost(kind: BudgetKind, cost: number, layers: readonly Layer[]): string {
  if (kind === 'size') return `size=${Math.ceil(cost)}B`;
  const up = (v: number, digits: number): string => {
    const text = v.toFixed(digits);
    return Number(text) >= v ? text : (Number(text) + 10 ** -digits).toFixed(digits);
  };
  if (kind === 'bops') return `bops=${up(cost / 1e9, cost < 1e7 ? 9 : 4)}G`;
  return `bits=${up(cost / layers.reduce((s, l) => s + l.params, 0), 3)}`;
}
