/** The ONNX standard's node tests: one small model per case, with inputs and expected outputs. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BitloomError } from '@bitloom/diagnostics';
import type { Tensor } from '@bitloom/tensor';
import { type Imported, importModel } from './importer.js';
import { decodeModel, onnx } from './proto.js';
import { readTensor } from './tensor-proto.js';

export interface NodeCase {
  readonly name: string;
  readonly model: Uint8Array;
  /** By name, in the order of the model. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** Why the values could not be read (sequences, optionals, strings); null where they were. */
  readonly unreadable: string | null;
}

export interface ImportedCase extends Imported {
  /** Inputs that had to be constants because they decide shapes or parameters; the rest are graph inputs. */
  readonly bound: readonly string[];
}

function values(folder: string, kind: 'input' | 'output', names: readonly string[]): Map<string, Tensor> {
  const read = names.map((name, i): [string, Tensor] | null => {
    const file = join(folder, `${kind}_${i}.pb`);
    return existsSync(file) && name !== '' ? [name, readTensor(onnx.TensorProto.decode(readFileSync(file)), name)] : null;
  });
  return new Map(read.filter((r) => r !== null));
}

/** The cases under `dir` (`…/node`), sorted by name, first data set of each. */
export function* loadNodeCases(dir: string): Generator<NodeCase> {
  for (const name of readdirSync(dir).sort()) {
    const file = join(dir, name, 'model.onnx');
    if (!existsSync(file)) continue;
    const model = readFileSync(file);
    const data = join(dir, name, 'test_data_set_0');
    try {
      const g = decodeModel(model).graph!;
      const inputs = values(data, 'input', (g.input ?? []).map((v) => v.name ?? ''));
      const outputs = values(data, 'output', (g.output ?? []).map((v) => v.name ?? ''));
      yield { name, model, inputs, outputs, unreadable: null };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const found = error instanceof BitloomError ? error.diagnostic.found : undefined;
      yield { name, model, inputs: new Map(), outputs: new Map(), unreadable: found ?? error.message };
    }
  }
}

/** Imports a case; inputs that importers need as constants (shapes, axes, …) are bound to the case's values. @throws as importOnnx. */
export function importNodeCase(c: NodeCase): ImportedCase {
  const model = decodeModel(c.model);
  const constants = new Map<string, Tensor>();
  for (;;) {
    const wanted = new Set<string>();
    try {
      return { ...importModel(model, { constants }, wanted), bound: [...constants.keys()] };
    } catch (error) {
      const more = [...wanted].filter((name) => c.inputs.has(name) && !constants.has(name));
      if (!(error instanceof BitloomError) || error.code !== 'E202' || more.length === 0) throw error;
      for (const name of more) constants.set(name, c.inputs.get(name)!);
    }
  }
}
