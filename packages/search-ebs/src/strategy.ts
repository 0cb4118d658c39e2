/**
 * EBS (Efficient Bitwidth Search, arXiv 2003.07577): bits by gradient descent. Every layer has one weight tensor and every input one value, quantised to the mixture
 * Σᵢ pᵢ·Qᵢ of their candidates, p = softmax(r), so that a layer is one convolution however many candidates there are. Weights and strengths r are updated in turns, on
 * different data, the latter on the validation loss and the expected cost (first order, as DARTS, arXiv 1806.09055). Of the paper no more than the abstract could be
 * read: quantisers are learnt steps (LSQ) on the grids of the compiler in place of DoReFa's and PACT's; the penalties are those of its siblings EdMIPS and FracBits;
 * how bits are taken from strengths is ours.
 */
import { type DataSource, picked, subset } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { DEVICES, compileGraph } from '@bitloom/engine';
import { type Graph, type ValueId, typeOf } from '@bitloom/ir';
import { type SearchProblem, type SearchStrategy, type SearchTrace, averageBits, choiceCost } from '@bitloom/search';
import { assertFeasible } from '@bitloom/search-mckp';
import { Rng, type Tensor, scalar, tensor, toNumbers } from '@bitloom/tensor';
import { Epochs, Trainer, type TrainingBatch, decodeCheckpoint, encodeCheckpoint, optimizers, schedules } from '@bitloom/train';
import { z } from 'zod';
import { likeliest } from './allocate.js';
import { PENALTIES, gumbel } from './mixture.js';
import { type MixedNetwork, mixedNetwork } from './network.js';
import { type Variables, decided, expectedCost, meanEntropy, variablesOf } from './variables.js';

/** How far Adam can take a strength in a run: at the last temperature enough for any decision. */
const DISTANCE = 6;
const MOST_STRENGTH_RATE = 0.2;

export const ebsOptions = z.strictObject({
  mode: z.enum(['det', 'sto']).default('det').describe('shares of the candidates: softmax of the strengths, or Gumbel softmax with random noise'),
  epochs: z.number().int().min(1).default(3).describe('passes over the part of the data that weights learn from'),
  batch: z.number().int().min(1).default(128).describe('samples of a step'),
  rate: z.number().positive().default(0.02).describe('learning rate of weights and steps (SGD), down to 0 along a cosine'),
  strengthRate: z.number().positive().nullable().default(null).describe(`learning rate of strengths (Adam); by default ${DISTANCE} over the number of steps, so that short runs decide, too`),
  lambda: z.number().nonnegative().default(1).describe('weight of the budget in the loss'),
  penalty: z.enum(PENALTIES).default('l1').describe('of an expected cost E and a limit T: hinge max(0, E/T − 1), l1 |E/T − 1|, linear E/T'),
  share: z.number().gt(0).lt(1).default(0.5).describe('part of the data that weights learn from; strengths learn from the rest'),
  crop: z.number().int().nonnegative().default(0).describe('pixels by which images are moved at random, at most'),
  flip: z.boolean().default(false).describe('mirrors images at random'),
  distillation: z.number().min(0).max(1).default(1).describe('part of the loss of weights that is the distance from the float network'),
  temperature: z.number().positive().default(4).describe('of that distance'),
  smoothing: z.number().min(0).max(1).default(0).describe('of labels, for weights'),
  decay: z.number().nonnegative().default(1e-4).describe('weight decay'),
  clip: z.number().nonnegative().default(5).describe('length to which longer gradients of weights are shortened; 0 leaves them'),
  device: z.enum(DEVICES).default('cpu').describe('what trains, as far as onnxruntime offers it'),
});
export type EbsOptions = z.infer<typeof ebsOptions>;

/** Steps between saved states; one is made after every epoch, too. */
const SAVE_EVERY = 50;
/** Samples on which normalisation begins, and on which mixture and choice are compared. */
const STATISTICS_SAMPLES = 4096;
const COMPARED_SAMPLES = 2048;
/**
 * Temperature of the softmax in the end; it falls from 1 by the same factor each step. Without it a mixture, whose grid is finer than that of any of its members, is
 * never given up, and costs another thing than the bits that are taken from it.
 */
const COLDEST = 0.1;
const sharpnessAt = (step: number, total: number): number => COLDEST ** (-step / total);

interface Meta {
  readonly identity: string;
  readonly step: number;
  readonly epochs: SearchTrace['epochs'];
  /** Sums of losses over the present epoch. */
  readonly sums: readonly [weights: number, validation: number];
}

export const ebs: SearchStrategy<EbsOptions> = {
  name: 'ebs',
  summary: 'gradient descent on bits and weights together (EBS), on labelled data; takes as long as fine-tuning',
  options: ebsOptions,
  defaultBits: [1, 2, 3, 4, 5],
  async search(p, o) {
    const budget = p.budget ?? fail('E103', 'strategy ebs needs a budget', { remedy: 'add --budget, for example --budget bits=4' });
    assertFeasible(p);
    const training = p.training ?? fail('E304', 'strategy ebs needs labels', { found: p.data.kind, remedy: 'give --calib a folder a class, or an archive with labels' });
    const g = (await training.atBatch(o.batch)) ?? fail('E204', 'the model cannot be trained on that many samples', {
      node: p.graph.name, found: `batch=${o.batch}`, remedy: 'export the model with a symbolic batch dimension and without constant shapes inside',
    });
    const variables = variablesOf(p, budget);
    const [forWeights, forStrengths] = halves(training.data, o.share, p.seed);
    // Before anything that takes long.
    const augmentation = o.crop > 0 || o.flip ? { pad: o.crop, flip: o.flip } : null;
    const data = {
      weights: new Epochs(forWeights, { batch: o.batch, seed: p.seed, augmentation }),
      strengths: new Epochs(forStrengths, { batch: o.batch, seed: p.seed + 1, augmentation: null }),
    };
    const network = await mixedNetwork(g, p, variables, o, subset(training.data, Math.max(o.batch, STATISTICS_SAMPLES), p.seed));
    const { strengths, parameters, epochs } = await trained(network, p, variables, o, data);
    const choice = likeliest(p, variables, toNumbers(strengths));
    const [mixedLoss, chosenLoss] = await validationLosses(g, network, parameters, subset(forStrengths, COMPARED_SAMPLES, p.seed), [settled(strengths, 1), tensor('f32', [variables.size], decided(p, variables, choice))]);
    return {
      strategy: 'ebs', choice, objective: null, lowerBound: null, gap: null,
      pareto: [{ cost: choiceCost(p, choice), loss: NaN, ...averageBits(p, choice) }],
      trace: { epochs, mixedLoss, chosenLoss },
    };
  },
};

/** Two random parts of a data set without a common sample. */
function halves(data: DataSource, share: number, seed: number): [DataSource, DataSource] {
  const order = [...new Rng((seed ^ 0x65627300) >>> 0).permutation(data.size)];
  const cut = Math.round(share * data.size);
  return [picked(data, order.slice(0, cut), 'part', 0, share, seed), picked(data, order.slice(cut), 'part', 1, share, seed)];
}

/** Strengths whose softmax is the shares after a part of the run, but for noise. */
const settled = (strengths: Tensor, part: number): Tensor => tensor('f32', strengths.shape, (strengths.data as Float32Array).map((r) => r * sharpnessAt(part, 1)));

/** What training leaves: strengths, and the current value of everything else that was trained, by input. */
interface Trained {
  readonly strengths: Tensor;
  readonly parameters: ReadonlyMap<ValueId, Tensor>;
  readonly epochs: SearchTrace['epochs'];
}

/**
 * A step updates the weights on a batch of one part of the data, then the strengths on a batch of the other. Two sessions over the same network; each is fed what the
 * other trains. Goes on from a saved state to the same result, bit for bit.
 */
async function trained(
  n: MixedNetwork, p: SearchProblem, variables: Variables, o: EbsOptions, data: { readonly weights: Epochs; readonly strengths: Epochs },
): Promise<Trained> {
  const { state, identity } = p.training!;
  const { limit } = p.budget!;
  const total = o.epochs * data.weights.stepsPerEpoch;
  const strengthRate = o.strengthRate ?? Math.min(MOST_STRENGTH_RATE, DISTANCE / total);
  const { b, classifier: c, strengths: s } = n;
  const weights = await Trainer.create({ graph: b.build([c.loss]), loss: c.loss, parameters: n.parameters, watched: [] }, optimizers.sgd(), { device: o.device, clip: o.clip });
  // β₁ as DARTS has it: the penalty's gradient jumps at the limit, and much momentum would carry the strengths past it.
  const strengths = await Trainer.create({ graph: b.build([n.objective]), loss: n.objective, parameters: [s.parameter], watched: [n.validation] }, optimizers.adam({ beta1: 0.5 }), { device: o.device });
  try {
    let epochs: SearchTrace['epochs'] = [];
    let sums: Meta['sums'] = [0, 0];
    const saved = await state?.load();
    if (saved) {
      const { meta, tensors } = decodeCheckpoint(saved, 'state of the search');
      const m = meta as Partial<Meta> | null;
      if (m?.identity !== identity || m.step === undefined || !m.epochs || !m.sums) {
        fail('E706', 'the state is of another search', { found: m?.identity ?? 'no search', expected: identity, remedy: 'delete it, or write elsewhere' });
      }
      weights.restore(m.step!, tensors);
      strengths.restore(m.step!, tensors);
      [epochs, sums] = [m.epochs!, m.sums!];
    }
    const noise = (number: number): Tensor => (o.mode === 'sto' ? gumbel(variables.size, p.seed, number) : tensor('f32', [variables.size], new Float32Array(variables.size)));
    while (weights.step < total) {
      const { step } = weights;
      const sharpness = scalar('f32', sharpnessAt(step, total));
      const given = (batch: TrainingBatch, number: number): Map<ValueId, Tensor> => new Map([...c.feeds(batch), [s.noise, noise(number)], [s.sharpness, sharpness]]);
      const learnt = await weights.run(given(await data.weights.batch(step), 2 * step).set(s.parameter.id, strengths.parameter(s.parameter)), o.rate * schedules.cosine(step, total));
      const fed = given(await data.strengths.batch(step), 2 * step + 1);
      for (const q of n.parameters) fed.set(q.id, weights.parameter(q));
      const tried = await strengths.run(fed, strengthRate);
      const [validation] = toNumbers(tried.watched.get(n.validation)!);
      sums = [sums[0] + learnt.loss, sums[1] + validation];
      const ended = weights.step % data.weights.stepsPerEpoch === 0;
      const current = toNumbers(settled(strengths.parameter(s.parameter), weights.step / total));
      const cost = expectedCost(variables, current);
      if (ended) {
        epochs = [...epochs, { loss: sums[0] / data.weights.stepsPerEpoch, validationLoss: sums[1] / data.weights.stepsPerEpoch, cost, entropy: meanEntropy(variables, current) }];
        sums = [0, 0];
      }
      if (state && (ended || weights.step % SAVE_EVERY === 0)) {
        const meta: Meta = { identity, step: weights.step, epochs, sums };
        await state.save(encodeCheckpoint({ meta, tensors: new Map([...weights.training, ...strengths.training]) }));
      }
      p.progress(`search, loss ${learnt.loss.toFixed(3)}, validation ${validation.toFixed(3)}, cost ${((100 * cost) / limit).toFixed(1)} %, undecided ${meanEntropy(variables, current).toFixed(2)} bits`, step + 1, total);
    }
    return { strengths: strengths.parameter(s.parameter), parameters: new Map(n.parameters.map((q) => [q.id, weights.parameter(q)])), epochs };
  } finally {
    await weights.close();
    await strengths.close();
  }
}

/** Mean validation loss over whole batches of some samples, for each vector of strengths, without noise. */
async function validationLosses(g: Graph, n: MixedNetwork, parameters: ReadonlyMap<ValueId, Tensor>, samples: DataSource, strengths: readonly Tensor[]): Promise<number[]> {
  const { strengths: s, classifier: c } = n;
  const batch = typeOf(g, g.inputs[0]).shape[0];
  const data = new Epochs(samples, { batch, seed: 0, augmentation: null });
  const session = await compileGraph(n.b.build([n.validation]), [n.validation]);
  const sums = strengths.map(() => 0);
  try {
    for (let step = 0; step < data.stepsPerEpoch; step++) {
      const fed = new Map([...parameters, ...c.feeds(await data.batch(step)), [s.sharpness, scalar('f32', 1)], [s.noise, tensor('f32', strengths[0].shape, new Float32Array(strengths[0].data.length))]]);
      for (const [i, r] of strengths.entries()) sums[i] += toNumbers((await session.run(fed.set(s.parameter.id, r))).get(n.validation)!)[0] / data.stepsPerEpoch;
    }
  } finally {
    await session.close();
  }
  return sums;
}
