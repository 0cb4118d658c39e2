/** Ranges of activations by what they do to the loss. */
import { type Histogram, batchOf, mergeHistograms, paramsForRange } from '@bitloom/calibrate';
import type { ValueId } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';
import { elementCount } from '@bitloom/tensor';
import { quantizable } from '@bitloom/transforms';
import { type Probing, measureProbes, quantizationNoise } from './sensitivity.js';

/** Shares of the seen range that are tried, each side on its own. */
const SHRINKS = [1, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2];
/** Groups measured by one graph, each with up to fifty probes: onnxruntime takes long to compile huge graphs. */
const GROUPS_AT_ONCE = 64;

function candidates(chosen: QuantParams, h: Histogram): QuantParams[] {
  const side = (bound: number): number[] => (bound === 0 ? [0] : SHRINKS.map((k) => bound * k));
  const tried = side(Math.min(0, h.min)).flatMap((lo) => side(Math.max(0, h.max)).map((hi) => paramsForRange(lo, hi, chosen.scheme)));
  return [chosen, ...tried];
}

/**
 * Replaces the parameters of each activation group by those with the least expected increase of the loss under the diagonal Fisher
 * approximation, ½ E Σ_i (∂ℓ/∂a_i · (Q(a_i) − a_i))², among the chosen ones and shrinks of the seen range (the output-gradient
 * weighting of BRECQ, arXiv 2102.05426, applied to ranges). Where small values carry the information beside large ones
 * (spectral features), plain squared error keeps the wrong ones.
 * @param params unsigned per-tensor parameters by value; a group shares one
 * @throws E403 when gradients cannot flow
 */
export async function refineRanges(
  p: Probing, params: ReadonlyMap<ValueId, QuantParams>, histograms: ReadonlyMap<ValueId, Histogram>,
): Promise<Map<ValueId, QuantParams>> {
  const batch = batchOf(p.graph);
  const rows = quantizable(p.graph).groups
    .filter((a) => params.has(a.values[0]))
    .map((a) => ({ group: a, tried: candidates(params.get(a.values[0])!, mergeHistograms(a.values.map((v) => histograms.get(v)!))) }));
  const refined = new Map(params);
  for (let done = 0; done < rows.length; done += GROUPS_AT_ONCE) {
    const part = rows.slice(done, done + GROUPS_AT_ONCE);
    const known: typeof rows = [];
    const step = `ranges by loss${rows.length > GROUPS_AT_ONCE ? ` ${done / GROUPS_AT_ONCE + 1}/${Math.ceil(rows.length / GROUPS_AT_ONCE)}` : ''}`;
    // Labels drawn from the network itself: the true Fisher, and the same with and without labelled data.
    const losses = await measureProbes({ ...p, labels: 'model' }, part.map((r) => r.group.values[0]), step, (b, cotangents) =>
      part.flatMap((r) => {
        const [x] = r.group.values;
        const d = cotangents.get(x);
        if (!d) return [];
        known.push(r);
        return r.tried.map((q) => {
          const weighted = compose.square(b, compose.mul(b, d, quantizationNoise(b, x, q)));
          const perSample = compose.reshapeTo(b, weighted, [batch, elementCount(b.shapeOf(x)) / batch]);
          // measureProbes squares.
          return b.add('sqrt', [compose.reduceSum(b, perSample, [1], false)]);
        });
      }));
    let at = 0;
    for (const r of known) {
      const loss = losses.subarray(at, (at += r.tried.length));
      const best = loss.reduce((k, v, i) => (v < loss[k] ? i : k), 0);
      for (const v of r.group.values) if (params.has(v)) refined.set(v, r.tried[best]);
    }
  }
  return refined;
}
