/** ONNX model → Graph over core ops. */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { BitloomError, fail } from '@bitloom/diagnostics';
import type { Graph, ValueId } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { type ImportOptions, declaredInputs, resolveShapes } from './input-shapes.js';
import { ModelImport } from './model-import.js';
import { MAX_MODEL_BYTES, type ModelProto, decodeModel, opsetsOf } from './proto.js';

export interface Imported {
  readonly graph: Graph;
  /** Quantisation that the model itself states (QuantizeLinear/DequantizeLinear), by value. */
  readonly annotations: ReadonlyMap<ValueId, QuantParams>;
  /** Version of the default operator set. */
  readonly opset: number;
  /** `metadata_props` of the file. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Names of the symbolic dimensions of the inputs. */
  readonly symbols: readonly string[];
}

/** Imports a decoded model once, with given options; `wanted` are the run-time inputs that would have to be constant. */
export function importModel(model: ModelProto, options: ImportOptions, wanted?: Set<string>): Imported {
  if (!model.graph!.output?.length) fail('E207', 'the graph has no outputs', { node: model.graph!.name ?? undefined, remedy: 'export the model again' });
  const inputs = declaredInputs(model.graph!, options);
  const attempt = (widen: boolean): { graph: Graph; annotations: Map<ValueId, QuantParams> } => {
    const m = new ModelImport(model, options, widen ? options.batch! : null);
    try {
      return m.run(resolveShapes(inputs, options, widen));
    } catch (error) {
      if (error instanceof RangeError && /call stack/.test(error.message)) fail('E207', 'subgraphs are nested too deeply', {}, error);
      throw error;
    } finally {
      for (const name of m.wanted) wanted?.add(name);
    }
  };
  const fixedLead = [...inputs.values()].every((dims) => dims[0] === 1) && inputs.size > 0;
  const result = (options.batch ?? 1) > 1 && fixedLead ? widened(attempt, options.batch!) : attempt(false);
  return {
    ...result,
    opset: opsetsOf(model.opsetImport).get('') ?? 0,
    metadata: new Map((model.metadataProps ?? []).map(({ key, value }) => [key ?? '', value ?? ''])),
    symbols: [...new Set([...inputs.values()].flat().flatMap((d) => (typeof d === 'string' ? [d] : [])))],
  };
}

/**
 * A model whose inputs all lead with 1, at another batch size when that only scales the leading dimension of every output;
 * otherwise as it is (shapes in the file may hold the 1).
 */
function widened<T extends { graph: Graph }>(attempt: (widen: boolean) => T, batch: number): T {
  const plain = attempt(false);
  try {
    const wide = attempt(true);
    const shapes = (g: Graph): (readonly number[])[] => g.outputs.map((o) => g.values.get(o)!.type.shape);
    const before = shapes(plain.graph);
    const scales = shapes(wide.graph).every((s, i) => s.length > 0 && s.every((d, axis) => d === before[i][axis] * (axis === 0 ? batch : 1)));
    return scales ? wide : plain;
  } catch (error) {
    if (error instanceof BitloomError && error.code !== 'E901') return plain;
    throw error;
  }
}

/**
 * Imports a serialised ONNX model. Everything that depends on constants only is folded, shapes are static, and every node
 * keeps the name of the ONNX node it came from.
 * @throws E201 not a model; E202 lists every unsupported node; E203 external data; E204 shapes or types; E205 symbolic
 *   dimension; E206 too large; E207 malformed graph; E208 non-finite weights; E209 element type or opset.
 */
export function importOnnx(bytes: Uint8Array, options: ImportOptions = {}): Imported {
  return importModel(decodeModel(bytes, options.name), options);
}

/** The bytes of a model file. @throws E704 when it cannot be read, E206 when it is too large for one buffer */
export async function readModelFile(path: string): Promise<Uint8Array> {
  const unreadable = (cause: NodeJS.ErrnoException): never => fail('E704', 'model cannot be read', { node: path, found: cause.code, expected: 'an ONNX file', remedy: 'check the path' }, cause);
  const { size } = await stat(path).catch(unreadable);
  if (size > MAX_MODEL_BYTES) {
    fail('E206', 'model file too large', {
      node: path, found: `${size} bytes`, expected: `at most ${MAX_MODEL_BYTES}`, remedy: 'store the weights as external data',
    });
  }
  return readFile(path).catch(unreadable);
}

/** Reads and imports a model file; external data may lie in its folder. @throws as {@link readModelFile} and {@link importOnnx} */
export async function readOnnx(path: string, options: ImportOptions = {}): Promise<Imported> {
  return importOnnx(await readModelFile(path), { folder: dirname(path), name: basename(path).replace(/\.onnx$/, ''), ...options });
}
