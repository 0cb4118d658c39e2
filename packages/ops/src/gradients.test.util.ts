/** Checks gradient rules against numeric directional derivatives, of any order. */
import { expect } from 'vitest';
import { type GraphBuilder, type ValueId } from '@bitloom/ir';
import { isFloat, Rng, type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { evaluateGraph } from './evaluate.js';
import { createBuilder, getOp } from './registry.js';

/** Emits a computation and returns its outputs. */
export type Build = (b: GraphBuilder, inputs: readonly ValueId[]) => readonly ValueId[];

/** Reverse mode over what the builder holds: cotangents of `wrt` given those of `outputs`. */
function reverse(b: GraphBuilder, seeds: ReadonlyMap<ValueId, ValueId>, wrt: readonly ValueId[]): (ValueId | null)[] {
  const total = new Map(seeds);
  for (const n of b.build([]).nodes.toReversed()) {
    const cotangents = n.outputs.map((o) => total.get(o) ?? null);
    if (cotangents.every((c) => c === null)) continue;
    const rule = getOp(n.op).gradient;
    if (!rule) throw new Error(`${n.op} has no gradient`);
    rule(b, { inputs: n.inputs, outputs: n.outputs, attrs: n.attrs, cotangents }).forEach((d, i) => {
      if (d === null || !isFloat(b.typeOf(n.inputs[i]).dtype)) return;
      expect(b.typeOf(d), `cotangent ${i} of ${n.op}`).toEqual(b.typeOf(n.inputs[i]));
      const before = total.get(n.inputs[i]);
      total.set(n.inputs[i], before === undefined ? d : b.add('add', [before, d]));
    });
  }
  return wrt.map((x) => total.get(x) ?? null);
}

const randomLike = (shape: readonly number[], rng: Rng): Tensor => {
  const n = shape.reduce((p, d) => p * d, 1);
  return tensorOf('f32', shape, Float32Array.from({ length: n }, () => rng.uniform() * 2 - 1));
};

/** The gradient of Σ⟨r, y⟩ over the float outputs y, r random, as a computation of its own. */
export const gradientOf = (build: Build, seed: number): Build => (b, xs) => {
  const rng = new Rng(seed);
  const ys = build(b, xs).filter((y) => isFloat(b.typeOf(y).dtype));
  const seeds = new Map(ys.map((y) => [y, b.const(randomLike(b.shapeOf(y), rng))]));
  const floats = xs.filter((x) => isFloat(b.typeOf(x).dtype));
  return reverse(b, seeds, floats).map((d, i) => d ?? b.add('mul', [floats[i], b.const(tensorOf('f32', [], [0]))]));
};

export const evaluate = (build: Build, inputs: readonly Tensor[]): Tensor[] => {
  const b = createBuilder('check');
  const ids = inputs.map((t, i) => b.input(`x${i}`, { dtype: t.dtype, shape: t.shape }));
  const outputs = build(b, ids);
  const values = evaluateGraph(b.build(outputs), new Map(ids.map((id, i) => [id, inputs[i]])));
  return outputs.map((o) => values.get(o)!);
};

export interface CheckOptions {
  /** Highest order of derivative (1: gradient, 2: gradient of the gradient too). */
  readonly order?: number;
  /** Step; functions must be smooth within 2·step of the inputs. */
  readonly step?: number;
  readonly tolerance?: number;
}

/**
 * Compares ⟨∇L, v⟩ with (8(L(h) − L(−h)) − L(2h) + L(−2h)) / 12h for a random direction v, summed in double precision, where
 * L = Σ⟨r, y⟩ with random r. Inputs that are no floats are held. Tolerance is relative to Σ|∇L·v| + 1.
 */
export function checkGradient(build: Build, inputs: readonly Tensor[], { order = 2, step = 1 / 64, tolerance = 2e-3 }: CheckOptions = {}): void {
  let f = build;
  for (let k = 1; k <= order; k++) {
    const seed = 77 + k;
    const g = gradientOf(f, seed);
    const rng = new Rng(5 + k);
    const direction = inputs.map((t) => (isFloat(t.dtype) ? randomLike(t.shape, rng) : null));
    const loss = (h: number): number => {
      const weights = new Rng(seed);
      const moved = inputs.map((t, i) => {
        const v = direction[i];
        return v ? tensorOf('f32', t.shape, toNumbers(t).map((x, j) => x + h * Number(v.data[j]))) : t;
      });
      return evaluate(f, moved).filter((y) => isFloat(y.dtype)).reduce((sum, y) => {
        const r = toNumbers(randomLike(y.shape, weights));
        return toNumbers(y).reduce((s, v, i) => s + v * r[i], sum);
      }, 0);
    };
    const numeric = (8 * (loss(step) - loss(-step)) - loss(2 * step) + loss(-2 * step)) / (12 * step);
    const terms = evaluate(g, inputs).flatMap((d, i) => {
      const v = direction.filter((t) => t !== null)[i];
      return toNumbers(d).map((x, j) => x * Number(v.data[j]));
    });
    const analytic = terms.reduce((s, x) => s + x, 0);
    const magnitude = 1 + terms.reduce((s, x) => s + Math.abs(x), 0);
    expect(Math.abs(analytic - numeric) / magnitude, `order ${k}: rule ${analytic}, numeric ${numeric}`).toBeLessThan(tolerance);
    f = g;
  }
}
