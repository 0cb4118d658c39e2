/** The pipeline on one screen: model → graph → bits → numbers → program → plans → bundle. */
import { type Progress, chooseParams, correctedBiases } from '@bitloom/calibrate';
import type { CostTable } from '@bitloom/codegen';
import { subset } from '@bitloom/data';
import { BitloomError } from '@bitloom/diagnostics';
import { type Graph, type Pass, type Phase, deadCode, printGraph, runPasses } from '@bitloom/ir';
import type { Program } from '@bitloom/kernel-spec';
import { opTable } from '@bitloom/ops';
import { type BitChoice, type SearchResult, readAssignment, refineRanges, toAssignment } from '@bitloom/search';
import { applyAssignment, applyCalibration, lowerGraph, markCandidates, quantizable, replaceConstants } from '@bitloom/transforms';
import { type LoadedModel, loadModel } from './model.js';
import { type CompileOptions, type SearchOptions, parsePrecision } from './options.js';
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
  const model = await loadModel(path, o.define, o.batch, afterPass);
  for (const name of model.unusedDefines) hooks.warn?.(`the model has no dimension ${name}: --define ${name} does nothing`);
  const unquantized = { model, graph: model.graph, program: null, search: null, searchSeconds: 0, choice: null, observed: null };
  if (stopAfter === 'float') return unquantized;
  if (o.precision !== null && parsePrecision(o.precision) === 'f32') return { ...unquantized, program: lowerGraph(model.graph) };

  const observed = await observe(model, o, progress);
  if (observed.synthetic) hooks.warn?.('no --calib data: calibrated on random inputs, accuracy is unknown');
  const problem = searchProblem(model, o, observed, costs, progress)!;
  const bits: { -readonly [K in 'search' | 'searchSeconds' | 'choice']: Compiled[K] } = { search: null, searchSeconds: 0, choice: null };
  const passes: readonly Pass[] = [
    {
      name: 'candidates', from: 'float', to: 'candidates',
      run: (g) => markCandidates(g, problem.problem.weightBits, problem.problem.activationBits),
    },
    {
      name: 'chosen', from: 'candidates', to: 'chosen',
      run: async (g) => {
        const started = performance.now();
        if (assignment === null) {
          bits.search = await search(problem);
          bits.searchSeconds = (performance.now() - started) / 1000;
        }
        bits.choice = bits.search?.choice ?? readAssignment(problem.problem, assignment);
        return applyAssignment(g, toAssignment(quantizable(model.graph), bits.choice));
      },
    },
    { name: 'calibrated', from: 'chosen', to: 'calibrated', run: (g) => calibrated(g, model, observed, o, progress) },
  ];
  const graph = await runPasses(model.graph, passes, opTable, { afterPass, stopAfter });
  return { model, graph, program: stopAfter === undefined ? lowerGraph(graph) : null, ...bits, observed };
}

/** Samples on which ranges are compared by loss. */
const REFINE_SAMPLES = 256;

async function calibrated(chosen: Graph, model: LoadedModel, observed: Observed, o: SearchOptions, progress: Progress): Promise<Graph> {
  const options = calibrationOptions(o);
  const params = chooseParams(chosen, observed.histograms, options, model.annotations);
  if (observed.synthetic) return applyCalibration(chosen, params);
  if (options.method === 'mse' && !options.symmetric) {
    const free = new Map([...params].filter(([id]) => !model.annotations.has(id)));
    const data = subset(observed.data, REFINE_SAMPLES, o.seed);
    try {
      for (const [id, q] of await refineRanges({ graph: observed.graph, data, seed: o.seed, progress }, free, observed.histograms)) params.set(id, q);
    } catch (e) {
      // No gradient reaches the activations: ranges stay those of least squared error.
      if (!(e instanceof BitloomError) || e.code !== 'E403') throw e;
    }
  }
  const biases = options.biasCorrection ? await correctedBiases(observed.graph, params, observed.data, progress) : new Map<string, Float32Array>();
  return applyCalibration(deadCode(replaceConstants(chosen, new Map([...biases].map(([name, bias]) => [name, { bias }])))), params);
}
