/**
 * Rounding as a quadratic problem over the codes of one layer. With Δ = ŵ − w, the squared error of an output channel against the float
 * network's, averaged over positions, is Δ·G·Δ − 2·c·Δ + e, where G = E x̂x̂ᵀ, c = E r·x̂ and e = E r² for the inputs x̂ of the quantised
 * network and r = w·(x − x̂), what the quantised inputs have already done (the asymmetric reconstruction of AdaRound, arXiv 2004.10568, eq. 25).
 */
import { type QuantParams, codeRange, quantize } from '@bitloom/numerics';

/** A layer's problem: `rows` output channels in `groups` of as many, each with `columns` weights. The rows of a group share a Gram matrix. */
export interface Quadratic {
  readonly groups: number;
  readonly rows: number;
  readonly columns: number;
  /** w: [rows, columns]. */
  readonly weights: Float32Array;
  /** G: [groups, columns, columns]. */
  readonly gram: Float32Array;
  /** c: [rows, columns]. */
  readonly cross: Float32Array;
  /** e: [rows]. */
  readonly residual: Float64Array;
}

/** Codes [rows, columns] with a scale for each row. */
export interface Rounded {
  readonly codes: Int32Array;
  readonly scale: Float32Array;
}

/** Each weight to its nearest code. */
export function nearest(p: Quadratic, q: QuantParams): Rounded {
  const scale = q.scale.length === 1 ? new Float32Array(p.rows).fill(q.scale[0]) : q.scale.slice();
  return { codes: quantize(p.weights, [p.rows, p.columns], { ...q, scale, zeroPoint: new Int32Array(p.rows), scheme: { ...q.scheme, axis: 0 } }), scale };
}

/** Float weights of the codes: what they stand for, to the bit. */
export const onGrid = (p: Quadratic, { codes, scale }: Rounded): Float32Array => Float32Array.from(codes, (v, i) => scale[Math.floor(i / p.columns)] * v);

/**
 * One row at a time, as a function of its codes q and scale s: s²·q·h − 2s·q·u + k with h = G·q, u = G·w + c and k = w·(u + c) + e. So that a
 * change of one code costs a column of G, and one of the scale nothing.
 */
class Row {
  private readonly target: Float64Array;
  private readonly product: Float64Array;
  private constant = 0;
  private base = 0;
  private gramBase = 0;
  private codes: Int32Array = new Int32Array();
  scale = 1;

  constructor(private readonly p: Quadratic) {
    this.target = new Float64Array(p.columns);
    this.product = new Float64Array(p.columns);
  }

  /** Goes to a row, at some codes, which it changes in place. */
  enter(row: number, codes: Int32Array, scale: number): void {
    const { p, target } = this;
    const { columns: n } = p;
    this.base = row * n;
    this.gramBase = Math.floor((row * p.groups) / p.rows) * n * n;
    this.times(p.weights, target);
    this.constant = p.residual[row];
    for (let i = 0; i < n; i++) {
      const c = p.cross[this.base + i];
      target[i] += c;
      this.constant += p.weights[this.base + i] * (target[i] + c);
    }
    this.take(codes, scale);
  }

  /** Other codes for the same row. @param known they have the same values */
  take(codes: Int32Array, scale: number, known = false): void {
    this.codes = codes;
    this.scale = scale;
    if (!known) this.times(codes, this.product);
  }

  /** G·v for this row's part of `v`. */
  private times(v: Float32Array | Int32Array, out: Float64Array): void {
    const { columns: n, gram } = this.p;
    out.fill(0);
    for (let i = 0, from = this.gramBase; i < n; i++, from += n) {
      const x = v[this.base + i];
      if (x !== 0) for (let j = 0; j < n; j++) out[j] += x * gram[from + j];
    }
  }

  /** q·h and q·u. */
  private get forms(): readonly [number, number] {
    let [own, aimed] = [0, 0];
    for (let i = 0; i < this.p.columns; i++) {
      const v = this.codes[this.base + i];
      own += v * this.product[i];
      aimed += v * this.target[i];
    }
    return [own, aimed];
  }

  get error(): number {
    const [own, aimed] = this.forms;
    return Math.max(0, this.scale * (this.scale * own - 2 * aimed) + this.constant);
  }

  /** Every code once, to the best with all others fixed. @returns whether one changed */
  sweep(lo: number, hi: number, binary: boolean): boolean {
    const { codes, target, product, base, gramBase, scale } = this;
    const { columns: n, gram } = this.p;
    let changed = false;
    for (let i = 0; i < n; i++) {
      const curvature = gram[gramBase + i * n + i];
      if (!(curvature > 0)) continue;
      const code = codes[base + i];
      const ascent = product[i] - target[i] / scale;
      const t = code - ascent / curvature;
      const next = binary ? (t < 0 ? -1 : 1) : Math.min(hi, Math.max(lo, Math.round(t)));
      const d = next - code;
      if (d === 0 || !(d * (d * curvature + 2 * ascent) < 0)) continue;
      codes[base + i] = next;
      for (let j = 0, from = gramBase + i * n; j < n; j++) product[j] += d * gram[from + j];
      changed = true;
    }
    return changed;
  }

  /** The scale of least error for these codes. @returns whether it is another */
  refit(): boolean {
    const [own, aimed] = this.forms;
    const s = Math.fround(aimed / own);
    if (!(s > 0 && Number.isFinite(s)) || !(s * (s * own - 2 * aimed) < this.scale * (this.scale * own - 2 * aimed))) return false;
    this.scale = s;
    return true;
  }
}

/** Mean squared output error of each row. */
export function outputErrors(p: Quadratic, r: Rounded): Float64Array {
  const row = new Row(p);
  return Float64Array.from({ length: p.rows }, (_, i) => {
    row.enter(i, r.codes, r.scale[i]);
    return row.error;
  });
}

export interface DescentOptions {
  /** Passes over a row at a scale. */
  readonly sweeps: number;
  /** Times that the scale is fitted by least squares and the codes follow; 0 leaves scales as they are. */
  readonly refits: number;
}

/**
 * Coordinate descent: one weight at a time takes the code of least error with all others fixed, until none changes (as QuantEase, arXiv
 * 2309.01885), and a row's scale becomes the best for its codes, q·u / q·G·q. No step makes an error larger. Rows for which that is still worse than
 * nearest rounding take the latter.
 * @param start where it begins
 * @param safe nearest rounding
 * @returns errors of the rows: [nearest, found]
 */
export function descend(p: Quadratic, start: Rounded, safe: Rounded, q: QuantParams, { sweeps, refits }: DescentOptions): Rounded & { readonly errors: readonly [Float64Array, Float64Array] } {
  const { lo, hi } = codeRange(q.scheme);
  const binary = q.scheme.signed && q.scheme.bits === 1;
  const [codes, scale] = [start.codes.slice(), start.scale.slice()];
  const errors = [new Float64Array(p.rows), new Float64Array(p.rows)] as const;
  const row = new Row(p);
  for (let i = 0; i < p.rows; i++) {
    row.enter(i, safe.codes, safe.scale[i]);
    errors[0][i] = row.error;
    row.take(codes, start.scale[i], start === safe);
    for (let round = 0; ; round++) {
      for (let sweep = 0; sweep < sweeps && row.sweep(lo, hi, binary); sweep++);
      if (round >= refits || !row.refit()) break;
    }
    scale[i] = row.scale;
    errors[1][i] = row.error;
    if (errors[1][i] <= errors[0][i]) continue;
    const [from, to] = [i * p.columns, (i + 1) * p.columns];
    codes.set(safe.codes.subarray(from, to), from);
    scale[i] = safe.scale[i];
    errors[1][i] = errors[0][i];
  }
  return { codes, scale, errors };
}
