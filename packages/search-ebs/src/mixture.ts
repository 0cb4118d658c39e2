/** Shares of the candidates and their expected cost, as parts of a training graph. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf } from '@bitloom/tensor';
import type { Parameter } from '@bitloom/train';
import type { Variable, Variables } from './variables.js';

/** Strengths r of all variables in one vector, and what is fed beside them. */
export interface Strengths {
  readonly parameter: Parameter;
  /** Added to the strengths; [size]. */
  readonly noise: ValueId;
  /** 1/temperature, a scalar. */
  readonly sharpness: ValueId;
  /** softmax(r/temperature) of a variable, [candidates]; null for one candidate. */
  expected(v: Variable): ValueId | null;
  /** Elements of softmax((r + noise)/temperature) of a variable; none for one candidate. */
  scalars(v: Variable): readonly ValueId[];
}

/** All alike before training. */
export function strengthsOf(b: GraphBuilder, { size }: Variables): Strengths {
  const type = { dtype: 'f32', shape: [size] } as const;
  const parameter: Parameter = { id: b.input('strengths', type), name: 'strengths', initial: tensor('f32', [size], new Float32Array(size)), rateScale: 1, decay: 0 };
  const noise = b.input('noise', type);
  const sharpness = b.input('sharpness', { dtype: 'f32', shape: [] });
  const sharesOf = (r: ValueId): ((v: Variable) => ValueId | null) => {
    const sharp = compose.mul(b, r, sharpness);
    const known = new Map<Variable, ValueId>();
    return (v) => {
      if (v.bits.length === 1) return null;
      const made = known.get(v) ?? b.add('softmax', [compose.sliceAxis(b, sharp, 0, v.offset, v.bits.length)], { axis: 0 });
      known.set(v, made);
      return made;
    };
  };
  const drawn = sharesOf(compose.add(b, parameter.id, noise));
  return {
    parameter, noise, sharpness, expected: sharesOf(parameter.id),
    scalars: (v) => {
      const all = drawn(v);
      return all === null ? [] : v.bits.map((_, i) => compose.reshapeTo(b, compose.sliceAxis(b, all, 0, i, 1), []));
    },
  };
}

/**
 * Expected cost E = Σ pᵀ·C·q and what is fixed, over `limit` (EBS; EdMIPS, arXiv 2004.05795, for costs that are products of bits). A scalar. Without noise: a
 * penalty for what is above the limit would else see the upper half of the noise alone, and hold the mean far below the limit.
 */
export function expectedShare(b: GraphBuilder, { costs, fixed }: Variables, s: Strengths, limit: number): ValueId {
  let sum = b.const(tensorOf('f32', [], [fixed / limit]), 'fixed');
  for (const { weights, activations, costs: matrix } of costs) {
    const [p, q] = [s.expected(weights), activations && s.expected(activations)];
    const [rows, columns] = [matrix.length, matrix[0].length];
    let e = b.const(tensorOf('f32', [rows, columns], matrix.flat().map((c) => c / limit)), 'costs');
    if (p) e = b.add('matmul', [compose.reshapeTo(b, p, [1, rows]), e]);
    if (q) e = b.add('matmul', [e, compose.reshapeTo(b, q, [columns, 1])]);
    sum = compose.add(b, sum, compose.reshapeTo(b, e, []));
  }
  return sum;
}

export const PENALTIES = ['hinge', 'l1', 'linear'] as const;

/** What a cost of so many times the limit adds to the loss: max(0, share − 1), |share − 1| (FracBits) or the share itself (EdMIPS). */
export function penalty(b: GraphBuilder, kind: (typeof PENALTIES)[number], share: ValueId): ValueId {
  if (kind === 'linear') return share;
  return b.add(kind === 'hinge' ? 'relu' : 'abs', [compose.shift(b, share, -1)]);
}

/** Standard Gumbel noise, −log(−log u) (Jang et al., arXiv 1611.01144, section 2.1), that depends on its seed and number alone. */
export function gumbel(size: number, seed: number, number: number): Tensor {
  const rng = new Rng((seed ^ Math.imul(number + 1, 0x9e3779b1)) >>> 0);
  return tensor('f32', [size], Float32Array.from({ length: size }, () => -Math.log(-Math.log(Math.min(1 - 1e-7, Math.max(1e-12, rng.uniform()))))));
}
