/** AdaRound (Nagel et al., arXiv 2004.10568) on the quadratic form of the output error: all steps run on small matrices. */
import { type QuantParams, codeRange } from '@bitloom/numerics';
import { compose, createBuilder } from '@bitloom/ops';
import { scalar, tensor } from '@bitloom/tensor';
import { Trainer, optimizers } from '@bitloom/train';
import { type Quadratic, type Rounded, outputErrors } from './quadratic.js';

/** Stretch of the rectified sigmoid, ibid. eq. 23. */
const [ZETA, GAMMA] = [1.1, -0.1];

/** Errors below this are none: f32 holds no share of them. */
const TINY = 1e-30;

export interface RelaxationOptions {
  readonly steps: number;
  readonly rate: number;
  /** λ times the weights of a row; the squared error of a row counts as a share of that of nearest rounding. */
  readonly regularization: number;
  /** Share of the steps before regularisation sets in. */
  readonly warmUp: number;
  /** β at the beginning and in the end, ibid. §3.2 and its experiments. */
  readonly beta: readonly [number, number];
}

/** Steps are full gradients, and coordinate descent follows: more of them, at a smaller rate, gain little. */
export const RELAXATION: RelaxationOptions = { steps: 200, rate: 0.05, regularization: 8, warmUp: 0.2, beta: [20, 2] };

/**
 * Learns for every weight whether it is rounded down or up: minimises Σ_row error/error(nearest) + λ·Σ (1 − |2h − 1|^β) over V with h(V) =
 * clip(σ(V)·(ζ − γ) + γ, 0, 1), by Adam, then cuts h at ½.
 * @param start nearest rounding
 */
export async function relax(p: Quadratic, start: Rounded, q: QuantParams, o: RelaxationOptions = RELAXATION): Promise<Rounded> {
  const { groups, rows, columns } = p;
  const { lo, hi } = codeRange(q.scheme);
  const step = q.scheme.bits === 1 ? 2 : 1;
  const shape = [groups, rows / groups, columns];
  const n = rows * columns;
  const down = new Float32Array(n);
  const logits = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const t = p.weights[i] / start.scale[Math.floor(i / columns)];
    down[i] = step === 2 ? lo : Math.min(hi - 1, Math.max(lo, Math.floor(t)));
    const h = Math.min(1, Math.max(0, (t - down[i]) / step));
    const sigma = (h - GAMMA) / (ZETA - GAMMA);
    logits[i] = Math.log(sigma / (1 - sigma));
  }
  const b = createBuilder('rounding');
  const constant = (data: Float32Array, s: readonly number[]): string => b.const(tensor('f32', s, data));
  const v = b.input('v', { dtype: 'f32', shape });
  const beta = b.input('beta', { dtype: 'f32', shape: [] });
  const lambda = b.input('lambda', { dtype: 'f32', shape: [] });
  const h = b.add('clip', [compose.shift(b, compose.scale(b, b.add('sigmoid', [v]), ZETA - GAMMA), GAMMA)], { min: 0, max: 1 });
  const codes = compose.add(b, constant(down, shape), compose.scale(b, h, step));
  const delta = compose.sub(b, compose.mul(b, codes, constant(start.scale, [groups, rows / groups, 1])), constant(p.weights, shape));
  const curved = b.add('matmul', [delta, constant(p.gram, [groups, columns, columns])]);
  const error = compose.mul(b, delta, compose.sub(b, curved, constant(p.cross.map((c) => 2 * c), shape)));
  const share = Float32Array.from(outputErrors(p, start), (e) => (e > TINY ? 1 / e : 0));
  const all = [0, 1, 2];
  const errors = compose.reduceSum(b, compose.mul(b, error, constant(share, [groups, rows / groups, 1])), all, false);
  const open = compose.neg(b, compose.shift(b, b.add('pow', [b.add('abs', [compose.shift(b, compose.scale(b, h, 2), -1)]), beta]), -1));
  const loss = compose.add(b, errors, compose.mul(b, lambda, compose.reduceSum(b, open, all, false)));
  const parameter = { id: v, name: 'v', initial: tensor('f32', shape, logits), rateScale: 1, decay: 0 };
  const trainer = await Trainer.create({ graph: b.build([loss]), loss, parameters: [parameter], watched: [] }, optimizers.adam());
  try {
    const warm = o.warmUp * o.steps;
    for (let t = 0; t < o.steps; t++) {
      const at = Math.max(0, (t - warm) / Math.max(1, o.steps - warm));
      const exponent = o.beta[1] + (o.beta[0] - o.beta[1]) * 0.5 * (1 + Math.cos(Math.PI * at));
      await trainer.run(new Map([[beta, scalar('f32', exponent)], [lambda, scalar('f32', t < warm ? 0 : o.regularization / columns)]]), o.rate);
    }
    const learnt = trainer.parameter(parameter).data as Float32Array;
    // h ≥ ½ where V ≥ 0: the stretch is symmetric.
    return { codes: Int32Array.from(learnt, (x, i) => down[i] + (x >= 0 ? step : 0)), scale: start.scale.slice() };
  } finally {
    await trainer.close();
  }
}
