/** The pipeline on one screen: model → graph → bits → numbers → program → plans → bundle. */
import { type Progress, chooseParams, correctedBiases } from '@bitloom/calibrate';
import type { CostTable } from '@bitloom/codegen';
import { subset } from '@bitloom/data';
import { BitloomError } from '@bitloom/diagnostics';
import { type Graph, type Pass, type Phase, type ValueId, deadCode, printGraph, runPasses } from '@bitloom/ir';
import type { Program } from '@bitloom/kernel-spec';
import type { Bits, QuantParams } from '@bitloom/numerics';
import { opTable } from '@bitloom/ops';
import { type RoundedLayer, learnRounding } from '@bitloom/rounding';
import { type BitChoice, type SearchResult, readAssignment, refineRanges, toAssignment } from '@bitloom/search';
import { applyAssignment, applyCalibration, layersOf, lowerGraph, markCandidates, quantizable, replaceConstants } from '@bitloom/transforms';
import { type LoadedModel, loadModel } from './model.js';
import { type CompileOptions, type SearchOptions, parsePrecision } from './options.js';
import { isTuned, readTuned } from './tuned.js';
import { type Observed, calibrationOptions, observe, search, searchProblem } from './search.js';

export interface Hooks {
  readonly progress?: Progress;
  /** Sees the graph after the import and each pass (`--print-ir-after`). */
  readonly afterPass?: (pass: string, text: () => string) => void;
  readonly warn?: (message: string) => void;
  /** Stops once this phase is reached (`--stop-after`). */
  readonly stopAfter?: Phase;
}

export interface Compiled {
  readonly model: LoadedModel;
  /** In the phase reached: `calibrated`, `float` for f32, or earlier with `stopAfter`. */
  readonly graph: Graph;
  /** Null when stopped before lowering. */
  readonly program: Program | null;
  readonly search: SearchResult | null;
  /** Time that the strategy took; 0 without one. */
  readonly searchSeconds: number;
  readonly choice: BitChoice | null;
  readonly observed: Observed | null;
}

/**
 * Everything up to the Program.
 * @param assignment contents of an assignment file, in place of a search
 * @param costs the user's own times
 * @throws any coded error of the steps
 */
export async function compileToProgram(path: string, o: CompileOptions, hooks: Hooks = {}, assignment: unknown = null, costs: CostTable | null = null): Promise<Compiled> {
  const progress = hooks.progress ?? (() => {});
  const { stopAfter } = hooks;
  const afterPass = (pass: string, g: Graph): void => hooks.afterPass?.(pass, () => printGraph(g).text);
  const model = await loadModel(path, o.define, o.batch, afterPass, o.equalize);
  for (const name of model.unusedDefines) hooks.warn?.(`the model has no dimension ${name}: --define ${name} does nothing`);
  const unquantized = { model, graph: model.graph, program: null, search: null, searchSeconds: 0, choice: null, observed: null };
  if (stopAfter === 'float') return unquantized;
  if (o.precision !== null && parsePrecision(o.precision) === 'f32') return { ...unquantized, program: lowerGraph(model.graph) };

  const tuned = assignment === null && leftOpen(o) ? readTuned(model) : null;
  if (tuned === null && isTuned(model)) hooks.warn?.('the model was fine-tuned at bits of its own: with other bits asked for, these and its steps are set aside');
  const bits: { -readonly [K in 'search' | 'searchSeconds' | 'choice']: Compiled[K] } = { search: null, searchSeconds: 0, choice: tuned?.choice ?? null };
  const observed = tuned ? null : await observe(model, o, progress);
  if (observed?.synthetic) hooks.warn?.('no --calib data: calibrated on random inputs, accuracy is unknown');
  const problem = observed && searchProblem(model, o, observed, costs, progress)!;
  const passes: readonly Pass[] = [
    {
      name: 'candidates', from: 'float', to: 'candidates',
      run: (g) => (problem ? markCandidates(g, problem.problem.weightBits, problem.problem.activationBits) : markCandidates(g, ALL_BITS, ALL_BITS)),
    },
    {
      name: 'chosen', from: 'candidates', to: 'chosen',
      run: async (g) => {
        const started = performance.now();
        if (problem && assignment === null) {
          bits.search = await search(problem);
          bits.searchSeconds = (performance.now() - started) / 1000;
        }
        bits.choice ??= bits.search?.choice ?? readAssignment(problem!.problem, assignment);
        return applyAssignment(g, toAssignment(quantizable(model.graph), bits.choice));
      },
    },
    {
      name: 'calibrated', from: 'chosen', to: 'calibrated',
      run: (g) => (tuned ? applyCalibration(g, tuned.params) : calibrated(g, model, observed!, o, hooks)),
    },
  ];
  const graph = await runPasses(model.graph, passes, opTable, { afterPass, stopAfter });
  return { model, graph, program: stopAfter === undefined ? lowerGraph(graph) : null, ...bits, observed };
}

const ALL_BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];

/** Nothing is said of bits, so that a fine-tuned model may say it. */
const leftOpen = (o: SearchOptions): boolean =>
  o.precision === null && o.budget === null && o.strategy === null && o.weights === null && o.activations === null && o.pin.length === 0 && !o.freeEnds && !o.equalize;

/**
 * Bits of weights at which the nearest code is as good as any, as long as all layers have them: beside layers of fewer bits, learning the codes of
 * the others makes up for what these lose (W2A8 of ResNet-20 with its ends at 8 bits: 86.4 %, and 85.6 % where the ends went to the nearest code).
 */
const ENOUGH_BITS = 8;

/** Samples on which ranges are compared by loss. */
const REFINE_SAMPLES = 256;

/** Parameters of everything that is quantised in a chosen graph: those of the model itself, or the best on the data. */
export async function parametersOf(chosen: Graph, model: LoadedModel, observed: Observed, o: SearchOptions, progress: Progress): Promise<Map<ValueId, QuantParams>> {
  const options = calibrationOptions(o);
  const params = chooseParams(chosen, observed.histograms, options, model.annotations);
  if (observed.synthetic || options.method !== 'mse' || options.symmetric) return params;
  const free = new Map([...params].filter(([id]) => !model.annotations.has(id)));
  const data = subset(observed.data, REFINE_SAMPLES, o.seed);
  try {
    for (const [id, q] of await refineRanges({ graph: observed.graph, data, seed: o.seed, progress }, free, observed.histograms)) params.set(id, q);
  } catch (e) {
    // No gradient reaches the activations: ranges stay those of least squared error.
    if (!(e instanceof BitloomError) || e.code !== 'E403') throw e;
  }
  return params;
}

/**
 * Layers with their rounding learnt; null where the nearest codes are kept: `--rounding nearest`, enough bits everywhere, no data to learn from.
 * @param chosen graph with bits, of which `params` are
 */
export async function learntRounding(
  chosen: Graph, params: ReadonlyMap<ValueId, QuantParams>, model: LoadedModel, observed: Observed, o: SearchOptions, hooks: Hooks,
): Promise<Map<string, RoundedLayer> | null> {
  const coarse = layersOf(chosen).some((l) => (params.get(l.weight)?.scheme.bits ?? ENOUGH_BITS) < ENOUGH_BITS);
  if (observed.synthetic || o.rounding !== 'adaround' || !coarse) return null;
  // What the model says itself is kept.
  const fixed = new Set([...model.annotations].filter(([id, q]) => params.get(id) === q).map(([id]) => id));
  return learnRounding(observed.graph, params, observed.data, { seed: o.seed, biasCorrection: o.biasCorrection, fixed, progress: hooks.progress, warn: hooks.warn });
}

async function calibrated(chosen: Graph, model: LoadedModel, observed: Observed, o: SearchOptions, hooks: Hooks): Promise<Graph> {
  const progress = hooks.progress ?? (() => {});
  const params = await parametersOf(chosen, model, observed, o, progress);
  if (observed.synthetic) return applyCalibration(chosen, params);
  const rounded = await learntRounding(chosen, params, model, observed, o, hooks);
  if (rounded) {
    const g = deadCode(replaceConstants(chosen, rounded));
    for (const l of layersOf(g)) if (rounded.has(l.name)) params.set(l.weight, rounded.get(l.name)!.params);
    return applyCalibration(g, params);
  }
  const biases = o.biasCorrection ? await correctedBiases(observed.graph, params, observed.data, progress) : new Map<string, Float32Array>();
  return applyCalibration(deadCode(replaceConstants(chosen, new Map([...biases].map(([name, bias]) => [name, { bias }])))), params);
}
