/** Optimisers as graph fragments: the update of a parameter is part of the training step's graph. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';

const { add, div, mul, scale, shift, square, sub } = compose;

/** Numbers of a step that all parameters share: rank-0 inputs of the graph, in the order of {@link Optimizer.scalars}. */
export type StepScalars = readonly ValueId[];

export interface Optimizer {
  readonly name: string;
  /** State tensors of each parameter, in its shape, zero before the first step. */
  readonly slots: number;
  /** Values of the step's scalars. @param step from 1 on */
  scalars(step: number, rate: number): readonly number[];
  /** New parameter and new state. @param rateScale factor of the rate for this parameter @param decay weight decay of it */
  update(b: GraphBuilder, p: ValueId, gradient: ValueId, slots: readonly ValueId[], scalars: StepScalars, rateScale: number, decay: number): {
    readonly parameter: ValueId;
    readonly slots: readonly ValueId[];
  };
}

const scaled = (b: GraphBuilder, x: ValueId, k: number): ValueId => (k === 1 ? x : scale(b, x, k));

/** v ← momentum·v + (g + decay·p), p ← p − rate·v; with Nesterov's rule p ← p − rate·(g + decay·p + momentum·v). */
export const sgd = ({ momentum = 0.9, nesterov = false } = {}): Optimizer => ({
  name: 'sgd',
  slots: 1,
  scalars: (_step, rate) => [rate],
  update(b, p, gradient, [v], [rate], rateScale, decay) {
    const g = decay === 0 ? gradient : add(b, gradient, scale(b, p, decay));
    const velocity = add(b, scale(b, v, momentum), g);
    const direction = nesterov ? add(b, g, scale(b, velocity, momentum)) : velocity;
    return { parameter: sub(b, p, mul(b, direction, scaled(b, rate, rateScale))), slots: [velocity] };
  },
});

/**
 * Adam (Kingma & Ba, arXiv 1412.6980, algorithm 1) with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2): the
 * scalars are the rate and 1/(1 − β₁ᵗ) and 1/(1 − β₂ᵗ).
 */
export const adam = ({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = {}): Optimizer => ({
  name: 'adam',
  slots: 2,
  scalars: (step, rate) => [rate, 1 / (1 - beta1 ** step), 1 / (1 - beta2 ** step)],
  update(b, p, gradient, [m, v], [rate, first, second], rateScale, decay) {
    const mean = add(b, scale(b, m, beta1), scale(b, gradient, 1 - beta1));
    const size = add(b, scale(b, v, beta2), scale(b, square(b, gradient), 1 - beta2));
    const direction = div(b, mul(b, mean, first), shift(b, b.add('sqrt', [mul(b, size, second)]), epsilon));
    const whole = decay === 0 ? direction : add(b, direction, scale(b, p, decay));
    return { parameter: sub(b, p, mul(b, whole, scaled(b, rate, rateScale))), slots: [mean, size] };
  },
});
