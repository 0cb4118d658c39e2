/** The network that EBS trains: one weight tensor a layer, each quantiser the mixture of its candidates by their strengths. */
import { activationParams, mergeHistograms, weightParams } from '@bitloom/calibrate';
import { type DataSource } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { type Graph, type GraphBuilder, type ValueId, constantData, producers } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';
import { type SearchProblem, classifierLogits } from '@bitloom/search';
import { type Classifier, type Parameter, type Teaching, type Trainable, classifier, losses, mixedSteps, outputStatistics, trainable } from '@bitloom/train';
import { activationScheme, weightScheme } from '@bitloom/transforms';
import { PENALTIES, type Strengths, expectedShare, penalty, strengthsOf } from './mixture.js';
import type { Variable, Variables } from './variables.js';

export interface Objective extends Teaching {
  readonly lambda: number;
  readonly penalty: (typeof PENALTIES)[number];
  /** Weight decay. */
  readonly decay: number;
}

export interface MixedNetwork {
  readonly b: GraphBuilder;
  readonly trainable: Trainable;
  readonly classifier: Classifier;
  readonly strengths: Strengths;
  /** Weights, normalisation and steps. */
  readonly parameters: readonly Parameter[];
  /** Cross-entropy with the labels, and what the strengths minimise. */
  readonly validation: ValueId;
  readonly objective: ValueId;
}

/** Where the quantisers of each candidate begin, by value. */
export function initialQuantizers(g: Graph, p: SearchProblem, v: Variables): Map<ValueId, readonly QuantParams[]> {
  const producer = producers(g);
  const groups = new Map(p.groups.map((a) => [a.id, a]));
  const of = ({ id, bits }: Variable): readonly QuantParams[] => {
    const w = constantData(producer, id);
    if (w) return bits.map((b) => weightParams(w, weightScheme(b), p.calibration.weights));
    const h = mergeHistograms(groups.get(id)!.values.map((x) => p.histograms.get(x)!));
    return bits.map((b) => activationParams(h, activationScheme(b), p.calibration));
  };
  return new Map(v.all.map((u) => [u.id, of(u)]));
}

/**
 * Builds the network on a float graph at the training batch size.
 * @param statistics samples for where normalisation begins
 * @throws E601 for what is no classifier
 */
export async function mixedNetwork(g: Graph, p: SearchProblem, v: Variables, o: Objective, statistics: DataSource): Promise<MixedNetwork> {
  const logits = classifierLogits(g) ?? fail('E601', 'only classifiers can be searched by training', { node: g.name, expected: 'one output, [batch, classes]' });
  const made = new Map<GraphBuilder, Strengths>();
  const strengthsIn = (b: GraphBuilder): Strengths => {
    const known = made.get(b) ?? strengthsOf(b, v);
    made.set(b, known);
    return known;
  };
  const quantizers = mixedSteps(initialQuantizers(g, p, v), (b, id) => strengthsIn(b).scalars(v.of.get(id)!));
  const t = trainable(g, { ...quantizers, statistics: await outputStatistics(g, statistics), decay: o.decay });
  const { b } = t;
  const strengths = strengthsIn(b);
  const c = classifier(g, logits, t, o);
  const validation = losses.crossEntropy(b, c.logits, c.targets);
  const share = expectedShare(b, v, strengths, p.budget!.limit);
  const objective = compose.add(b, validation, compose.scale(b, penalty(b, o.penalty, share), o.lambda));
  return { b, trainable: t, classifier: c, strengths, parameters: [...t.parameters, ...[...quantizers.steps.values()].flat()], validation, objective };
}

