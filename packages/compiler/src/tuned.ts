/** Fine-tuned models: ONNX files whose metadata hold the bits and steps that their weights were trained at. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, type ValueId, typeOf } from '@bitloom/ir';
import { type Bits, type QuantParams, codeRange } from '@bitloom/numerics';
import { exportModel, importOnnx } from '@bitloom/onnx';
import { type BitChoice, groupNames } from '@bitloom/search';
import { activationScheme, quantizable, weightScheme } from '@bitloom/transforms';
import { z } from 'zod';
import { type LoadedModel, prepare } from './model.js';

const KEY = 'bitloom.quantization';

const bits = z.number().int().min(1).max(8).transform((b) => b as Bits);
const step = z.number().positive().refine((s) => Math.fround(s) > 0 && Number.isFinite(Math.fround(s)), 'a step is no f32');
const schema = z.strictObject({
  version: z.literal(1),
  layers: z.record(z.string(), z.strictObject({ bits, scale: z.array(step) })),
  activations: z.record(z.string(), z.strictObject({ bits, scale: step, zeroPoint: z.number().int() })),
});

/** Bits, and the numbers of everything that is quantised with them. */
export interface Tuned {
  readonly choice: BitChoice;
  readonly params: ReadonlyMap<ValueId, QuantParams>;
}

/** True when a file says what bits it was trained at. */
export const isTuned = ({ metadata }: Pick<LoadedModel, 'metadata'>): boolean => metadata.has(KEY);

/** What a file says of its own quantisation; null where it says nothing. @throws E207 where that does not fit its graph */
export function readTuned({ metadata, graph }: Pick<LoadedModel, 'metadata' | 'graph'>): Tuned | null {
  const text = metadata.get(KEY);
  if (text === undefined) return null;
  const bad = (found: string, node?: string): never => fail('E207', 'the model states a quantisation that does not fit it', {
    node, found, remedy: 'fine-tune it again, or give --precision or --budget',
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return bad('no JSON');
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) return bad(parsed.error.issues[0].message, parsed.error.issues[0].path.join('.'));
  const { layers, activations } = parsed.data;
  const sites = quantizable(graph);
  const params = new Map<ValueId, QuantParams>();
  const choice = { weights: new Map<string, Bits>(), activations: new Map<ValueId, Bits>() };
  for (const l of sites.layers) {
    const q = layers[l.name] ?? bad('nothing', l.name);
    const channels = typeOf(graph, l.weight).shape[0];
    if (q.scale.length !== channels) bad(`${q.scale.length} steps for ${channels} channels`, l.name);
    choice.weights.set(l.name, q.bits);
    params.set(l.weight, { scheme: weightScheme(q.bits), scale: Float32Array.from(q.scale), zeroPoint: new Int32Array(channels) });
  }
  groupNames({ graph, ...sites }).forEach((name, i) => {
    const q = activations[name] ?? bad('nothing', name);
    const scheme = activationScheme(q.bits);
    const { lo, hi } = codeRange(scheme);
    if (q.zeroPoint < lo || q.zeroPoint > hi) bad(`zero point ${q.zeroPoint}`, name);
    choice.activations.set(sites.groups[i].id, q.bits);
    for (const v of sites.groups[i].values) params.set(v, { scheme, scale: Float32Array.of(q.scale), zeroPoint: Int32Array.of(q.zeroPoint) });
  });
  return { choice, params };
}

/**
 * The file of a fine-tuned network, which {@link readTuned} reads: a float ONNX model with weights on their grids.
 * @param g simplified float graph, to whose layers and groups `t` belongs @param trained the same with the trained constants
 */
export async function writeTuned(g: Graph, trained: Graph, t: Tuned): Promise<Uint8Array> {
  // Layers and values get their names from the file, so what belongs to them is written under the names that it will be read by.
  const read = await prepare(importOnnx(exportModel(trained)).graph);
  const [from, to] = [quantizable(g), quantizable(read)];
  if (from.layers.length !== to.layers.length || from.groups.length !== to.groups.length) fail('E901', 'the exported network has other layers');
  const names = groupNames({ graph: read, ...to });
  const file: z.input<typeof schema> = {
    version: 1,
    layers: Object.fromEntries(from.layers.map((l, i) => [to.layers[i].name, { bits: t.choice.weights.get(l.name)!, scale: [...t.params.get(l.weight)!.scale] }])),
    activations: Object.fromEntries(from.groups.map((a, i) => {
      const q = t.params.get(a.id)!;
      return [names[i], { bits: t.choice.activations.get(a.id)!, scale: q.scale[0], zeroPoint: q.zeroPoint[0] }];
    })),
  };
  return exportModel(trained, new Map([[KEY, JSON.stringify(file)]]));
}
