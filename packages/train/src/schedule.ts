/** Learning rates over a run. */

/** Factor of the base rate at a step, from 0 on, of `total` steps. */
export type Schedule = (step: number, total: number) => number;

export const constant: Schedule = () => 1;

/** ½(1 + cos(π·step/total)) (Loshchilov & Hutter, arXiv 1608.03983, equation 5, one period down to 0). */
export const cosine: Schedule = (step, total) => 0.5 * (1 + Math.cos((Math.PI * step) / total));

/** Times `gamma` at each of the given shares of the run. */
export const steps = (at: readonly number[], gamma = 0.1): Schedule => (step, total) => gamma ** at.filter((share) => step >= share * total).length;

/** The first `warm` steps rise linearly to what `then` gives for the rest of the run. */
export const warmUp = (warm: number, then: Schedule): Schedule => (step, total) =>
  (step < warm ? ((step + 1) / warm) * then(0, Math.max(1, total - warm)) : then(step - warm, Math.max(1, total - warm)));
