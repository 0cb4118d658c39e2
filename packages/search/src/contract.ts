/** What a search strategy gets and gives. */
import type { CalibrationOptions, Histogram, Progress } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { type Graph, type ValueId, valueOf } from '@bitloom/ir';
import { type Bits, isBits } from '@bitloom/numerics';
import type { CheckpointStore } from '@bitloom/train';
import { type ActivationGroup, type Assignment, type Layer, STREAM_BITS, activationScheme, uniqueNames, weightScheme } from '@bitloom/transforms';
import type { z } from 'zod';
import type { Budget } from './cost.js';

/** Bits that a layer's weights, and the activation group it reads, must have. */
export interface Pin {
  readonly weights: Bits | null;
  readonly activations: Bits | null;
}

/** For strategies that train. */
export interface TrainingAccess {
  /** All of the labelled data that {@link SearchProblem.data} was drawn from. */
  readonly data: DataSource;
  /** The simplified float graph at another batch size, with the values of the problem's; null where it cannot have one. */
  atBatch(batch: number): Promise<Graph | null>;
  /** State of a search that is interrupted; null keeps none. */
  readonly state: CheckpointStore | null;
  /** Changes with the model, the data and all options: a state of another identity is of another search. */
  readonly identity: string;
}

export interface SearchProblem {
  /** Phase `candidates`, with the batch size at which statistics run. */
  readonly graph: Graph;
  readonly layers: readonly Layer[];
  readonly groups: readonly ActivationGroup[];
  readonly weightBits: readonly Bits[];
  readonly activationBits: readonly Bits[];
  /** By layer name. */
  readonly pins: ReadonlyMap<string, Pin>;
  readonly budget: Budget | null;
  /** Calibration data, labelled or not. */
  readonly data: DataSource;
  readonly histograms: ReadonlyMap<ValueId, Histogram>;
  /** Null without labelled data. */
  readonly training: TrainingAccess | null;
  readonly calibration: CalibrationOptions;
  readonly seed: number;
  readonly progress: Progress;
}

/** Bits of each layer's weights (by layer name) and of each activation group (by group id). */
export interface BitChoice {
  readonly weights: ReadonlyMap<string, Bits>;
  readonly activations: ReadonlyMap<ValueId, Bits>;
}

export interface ParetoPoint {
  readonly cost: number;
  readonly loss: number;
  /** Averages over parameters and over MACs. */
  readonly weightBits: number;
  readonly activationBits: number;
}

/** How a search by training went. Losses are means in nats. */
export interface SearchTrace {
  readonly epochs: readonly {
    /** Of the weight updates, in training. */
    readonly loss: number;
    /** Of the strength updates, on data that weights do not see; without what the budget adds. */
    readonly validationLoss: number;
    /** Expected cost after the epoch, in the unit of the budget. */
    readonly cost: number;
    /** Mean entropy of the shares of the bits of a layer or activation, in bits, after the epoch: 0 where all are decided. */
    readonly entropy: number;
  }[];
  /** On the same validation samples: of the mixture that was trained, and of the bits chosen from it, with weights as they are. */
  readonly mixedLoss: number;
  readonly chosenLoss: number;
}

export interface SearchResult {
  readonly strategy: string;
  readonly choice: BitChoice;
  /** Predicted loss increase, with its proven lower bound and relative gap; null where a strategy predicts none. */
  readonly objective: number | null;
  readonly lowerBound: number | null;
  readonly gap: number | null;
  readonly pareto: readonly ParetoPoint[];
  /** Of strategies that train. */
  readonly trace?: SearchTrace;
}

/** A way to choose bits. Deterministic in the problem and its seed. @throws E501 when the budget cannot be met. */
export interface SearchStrategy<O = unknown> {
  readonly name: string;
  readonly summary: string;
  readonly options: z.ZodType<O>;
  /** Candidates for weights and activations where the user names none; without it those that go with any strategy. */
  readonly defaultBits?: readonly Bits[];
  search(p: SearchProblem, options: O): Promise<SearchResult>;
}

export function toAssignment(p: Pick<SearchProblem, 'layers' | 'groups'>, choice: BitChoice): Assignment {
  const a = new Map(p.layers.map((l) => [l.weight, weightScheme(choice.weights.get(l.name)!)]));
  for (const group of p.groups) for (const v of group.values) a.set(v, activationScheme(choice.activations.get(group.id)!));
  return a;
}

/** Bits of a layer's input under a choice; 32 where it stays float. */
export function inputBitsOf(p: Pick<SearchProblem, 'groups'>, choice: BitChoice): (l: Layer) => number {
  const groupOf = new Map(p.groups.flatMap((a) => a.values.map((v) => [v, a.id] as const)));
  return (l) => choice.activations.get(groupOf.get(l.input)!) ?? 32;
}

/** Averages: weight bits over parameters, input activation bits over MACs; 32 without any. */
export function averageBits(p: Pick<SearchProblem, 'layers' | 'groups'>, choice: BitChoice): { weightBits: number; activationBits: number } {
  const inputBits = inputBitsOf(p, choice);
  let [params, macs, w, a] = [0, 0, 0, 0];
  for (const l of p.layers) {
    params += l.params;
    macs += l.macs;
    w += l.params * choice.weights.get(l.name)!;
    a += l.macs * inputBits(l);
  }
  return { weightBits: params ? w / params : 32, activationBits: macs ? a / macs : 32 };
}

/** `conv1=w4a8`, `conv1=w4`, `conv1=a8`. @throws E502 */
export function parsePin(text: string): [string, Pin] {
  const m = /^(.+)=(?:w([1-8]))?(?:a([1-8]))?$/i.exec(text);
  if (!m || (m[2] === undefined && m[3] === undefined)) fail('E502', 'pin does not parse', { found: text, expected: 'NODE=w4a8, NODE=w4 or NODE=a8' });
  const bits = (s: string | undefined): Bits | null => (s === undefined ? null : (Number(s) as Bits));
  return [m[1], { weights: bits(m[2]), activations: bits(m[3]) }];
}

/** Default pins: the first and the last layer at 8 bits, weights and activations. */
export function defaultPins(layers: readonly Layer[]): Map<string, Pin> {
  const ends = layers.length === 0 ? [] : [layers[0], layers[layers.length - 1]];
  return new Map(ends.map((l) => [l.name, { weights: 8, activations: 8 }]));
}

/** User pins over the default ones. @throws E502 for a name that is no quantisable layer */
export function mergePins(layers: readonly Layer[], pins: readonly (readonly [string, Pin])[], base = defaultPins(layers)): Map<string, Pin> {
  const names = new Set(layers.map((l) => l.name));
  const merged = new Map(base);
  for (const [name, pin] of pins) {
    if (!names.has(name)) fail('E502', 'pin names no quantisable layer', { node: name, expected: [...names].join(', ') });
    const known = merged.get(name);
    merged.set(name, { weights: pin.weights ?? known?.weights ?? null, activations: pin.activations ?? known?.activations ?? null });
  }
  return merged;
}

/** Bits each activation group may take, pins applied (the widest pin wins where layers of a group disagree). */
export function activationChoices(p: SearchProblem): Map<ValueId, readonly Bits[]> {
  return new Map(p.groups.map((a) => {
    const pinned = a.layers.flatMap((l) => p.pins.get(l.name)?.activations ?? []);
    return [a.id, a.layers.length === 0 ? [STREAM_BITS] : pinned.length > 0 ? [Math.max(...pinned) as Bits] : p.activationBits];
  }));
}

/** Bits the weights of a layer may take. Weights that several layers share (unrolled loops) get the widest pin, else the widest bits. */
export const weightChoices = (p: SearchProblem, l: Layer): readonly Bits[] => {
  const sharers = p.layers.filter((m) => m.weight === l.weight);
  const pinned = sharers.flatMap((m) => p.pins.get(m.name)?.weights ?? []);
  const widest = (bits: readonly Bits[]): Bits => Math.max(...bits) as Bits;
  if (pinned.length > 0) return [widest(pinned)];
  return sharers.length > 1 ? [widest(p.weightBits)] : p.weightBits;
};

/** Names of the activation groups in files: that of the value, made unique. */
export const groupNames = (p: Pick<SearchProblem, 'graph' | 'groups'>): string[] => uniqueNames(p.groups.map((a) => valueOf(p.graph, a.id).name));

/** The reviewable file: bits by ONNX names. */
export interface AssignmentFile {
  readonly version: 1;
  readonly layers: Readonly<Record<string, { readonly weights: number }>>;
  readonly activations: Readonly<Record<string, number>>;
}

export function writeAssignment(p: Pick<SearchProblem, 'graph' | 'layers' | 'groups'>, choice: BitChoice): AssignmentFile {
  return {
    version: 1,
    layers: Object.fromEntries(p.layers.map((l) => [l.name, { weights: choice.weights.get(l.name)! }])),
    activations: Object.fromEntries(groupNames(p).map((name, i) => [name, choice.activations.get(p.groups[i].id)!])),
  };
}

/** Reads an assignment file for a model. Every layer must be named. @throws E502 */
export function readAssignment(p: Pick<SearchProblem, 'graph' | 'layers' | 'groups'>, json: unknown): BitChoice {
  const file = json as Partial<AssignmentFile> | null;
  const isRecord = (v: unknown): boolean => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (file?.version !== 1 || !isRecord(file.layers) || !isRecord(file.activations)) fail('E502', 'not an assignment file',
    { expected: 'version 1 with layers and activations', remedy: 'make one with bitloom search -o' });
  const check = (what: string, bits: unknown): Bits =>
    typeof bits === 'number' && isBits(bits) ? bits : fail('E502', 'assignment gives no usable bit-width',
      { node: what, found: JSON.stringify(bits), expected: 'an integer from 1 to 8' });
  const names = groupNames(p);
  const unknown = (found: object, known: readonly string[]): string[] => Object.keys(found).filter((name) => !known.includes(name));
  for (const name of [...unknown(file.layers!, p.layers.map((l) => l.name)), ...unknown(file.activations!, names)]) {
    fail('E502', 'assignment names a node that the model does not have', { node: name, remedy: 'was the assignment made for another model?' });
  }
  return {
    weights: new Map(p.layers.map((l) => [l.name, check(l.name, file.layers![l.name]?.weights)])),
    activations: new Map(p.groups.map((a, i) => [a.id, check(names[i], file.activations![names[i]])])),
  };
}
