/** What is measured: single layers and whole models, ours at every precision and the peers. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CostTable } from '@bitloom/codegen';
import { BitloomError } from '@bitloom/diagnostics';
import { exportOnnx } from '@bitloom/onnx';
import { layersOf } from '@bitloom/transforms';
import { C_ENGINES, isPeer } from './engines.js';
import { type Lab, findPeer } from './lab.js';
import { LAYERS, layerMacs, mobilenetV2, repeated, resnet18 } from './models.js';
import { type Network, type Precision, cNetwork, openNetwork, programOf, qdqOf, wasmNetwork } from './network.js';
import type { Result } from './report.js';
import { type Contender, type Measurement, type RoundOptions, measure } from './rounds.js';

export interface SuiteOptions {
  readonly engines: readonly string[];
  /** Ours; peers always run f32 and int8. Null: those of the suite. */
  readonly precisions: readonly Precision[] | null;
  /** Parts of the names of cases; empty for all. */
  readonly only: readonly string[];
  /** Measured costs, from which kernels are chosen. */
  readonly costs: CostTable | null;
  readonly rounds: number;
  readonly roundMs: number;
  readonly progress: (what: string) => void;
  readonly result: (results: readonly Result[]) => void;
  /** What could not be measured, and why. */
  readonly skip: (reason: string) => void;
}

export const showPrecision = (p: Precision): string => (p === 'f32' ? p : `w${p[0]}a${p[1]}`);

export const root = fileURLToPath(new URL('../../../', import.meta.url));
const data = process.env.BITLOOM_DATA || join(root, '../shared/data');

const LAYER_PRECISIONS: readonly Precision[] = [[1, 1], [1, 2], [2, 2], [2, 4], [4, 4], [8, 8], 'f32'];
const MODEL_PRECISIONS: readonly Precision[] = [[2, 2], [4, 4], [8, 8], 'f32'];

interface Entry {
  readonly engine: string;
  readonly precision: string;
  /** @throws coded errors where it cannot be made */
  make(n: Network): Promise<Contender>;
}

/** Every engine at every precision. */
function entries(lab: Lab, o: SuiteOptions, precisions: readonly Precision[], pinEnds: boolean): Entry[] {
  return o.engines.flatMap((engine): Entry[] => {
    if (isPeer(engine)) {
      const peer = (precision: string, file: (n: Network) => Uint8Array): Entry => ({
        engine, precision, make: (n) => lab.peer(`${engine} ${precision}`, engine, findPeer(engine, [root]).entry, lab.write('model.onnx', file(n)), n.inputs),
      });
      return [peer('f32', (n) => n.bytes), peer('int8', qdqOf)];
    }
    return (o.precisions ?? precisions).map((p) => {
      const precision = showPrecision(p);
      const name = `${engine} ${precision}`;
      const make = async (n: Network): Promise<Contender> => {
        const program = programOf(n, p, pinEnds);
        const c = C_ENGINES[engine];
        if (c) return lab.c(name, cNetwork(program, c.isa, o.costs), [...n.inputs.values()], c);
        return lab.wasm(name, await wasmNetwork(program, engine, o.costs), n.inputs);
      };
      return { engine, precision, make };
    });
  });
}

/** Engine in results; C that chose its instruction set is named by it. */
const labelOf = (e: Entry, c: Contender & { readonly isa?: string | null }): string => (e.engine === 'c' ? `c-${c.isa}` : e.engine);

/** Entries made for one network; what fails is told and left out. */
async function contenders(all: readonly Entry[], n: Network, what: string, o: SuiteOptions): Promise<Map<Entry, Contender>> {
  const made = new Map<Entry, Contender>();
  for (const e of all) {
    o.progress(`${what}: ${e.engine} ${e.precision}`);
    try {
      made.set(e, await e.make(n));
    } catch (error) {
      if (!(error instanceof BitloomError)) throw error;
      o.skip(`${what}, ${e.engine} ${e.precision}: ${error.message}${error.diagnostic.found ? ` (${error.diagnostic.found})` : ''}`);
    }
  }
  return made;
}

const rounds = (what: string, o: SuiteOptions): RoundOptions => ({ ...o, progress: (done, total) => o.progress(`${what}: round ${done} of ${total}`) });

const wanted = (name: string, only: readonly string[]): boolean => only.length === 0 || only.some((o) => name.includes(o));

/** Chains in which a layer is counted, and how often. */
const SHORT = 2;
const LONG = 10;

/**
 * Single layers. Time of one is (t₁₀ − t₂)/8 of networks with ten and with two of it, so that what a run costs besides (copies of
 * inputs and outputs, quantisation, calls into the engine) cancels, for us and for peers.
 */
export async function layers(lab: Lab, o: SuiteOptions): Promise<void> {
  for (const [name, shape] of Object.entries(LAYERS)) {
    if (!wanted(name, o.only)) continue;
    const all = entries(lab, o, LAYER_PRECISIONS, false);
    const made: Map<Entry, Contender>[] = [];
    for (const n of [SHORT, LONG]) made.push(await contenders(all, await openNetwork(exportOnnx(repeated(shape, n))), `${name} × ${n}`, o));
    const both = all.filter((e) => made.every((m) => m.has(e)));
    const measured = await measure(both.flatMap((e) => made.map((m) => m.get(e)!)), rounds(name, o));
    const one = (i: number, of: (m: Measurement) => number): number => (of(measured[2 * i + 1]) - of(measured[2 * i])) / (LONG - SHORT);
    o.result(both.map((e, i) => ({
      suite: 'layers', case: name, engine: labelOf(e, made[0].get(e)!), precision: e.precision, macs: layerMacs(shape),
      best: one(i, (m) => m.best), median: one(i, (m) => m.median),
    })));
    await lab.clear();
  }
}

const MODELS: Readonly<Record<string, () => Uint8Array | null>> = {
  'resnet18-224': () => exportOnnx(resnet18()),
  'mobilenet_v2-224': () => exportOnnx(mobilenetV2()),
  'resnet20-32': () => {
    const path = join(data, 'models/cifar10_resnet20.onnx');
    return existsSync(path) ? readFileSync(path) : null;
  },
};

/** Whole networks at batch 1; first and last layers have 8 bits, as the compiler gives them. */
export async function models(lab: Lab, o: SuiteOptions): Promise<void> {
  for (const [name, load] of Object.entries(MODELS)) {
    if (!wanted(name, o.only)) continue;
    const bytes = load();
    if (!bytes) {
      o.skip(`${name}: not in ${data} (BITLOOM_DATA names another folder)`);
      continue;
    }
    const n = await openNetwork(bytes);
    const made = await contenders(entries(lab, o, MODEL_PRECISIONS, true), n, name, o);
    const measured = await measure([...made.values()], rounds(name, o));
    const macs = layersOf(n.graph).reduce((s, l) => s + l.macs, 0);
    o.result([...made].map(([e, c], i) => {
      const { best, median } = measured[i];
      return { suite: 'models', case: name, engine: labelOf(e, c), precision: e.precision, macs, best, median };
    }));
    await lab.clear();
  }
}

export const SUITES: Readonly<Record<string, (lab: Lab, o: SuiteOptions) => Promise<void>>> = { layers, models };
