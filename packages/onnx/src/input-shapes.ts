/** Shapes of a model's inputs: sizes, symbols, and what the user gives for them. */
import { fail } from '@bitloom/diagnostics';
import { type Tensor, elementCount } from '@bitloom/tensor';
import { type GraphProto, type ValueInfoProto, initializerNames, numberOf } from './proto.js';

export interface ImportOptions {
  /** Values of symbolic dimensions. An unnamed dimension is called `<input>_dim_<axis>`. */
  readonly define?: Readonly<Record<string, number>>;
  /** Replaces the leading dimension of every input where it is symbolic, or 1 in all inputs and the model allows it. */
  readonly batch?: number;
  /** Folder that external data may lie in. */
  readonly folder?: string;
  /** Name of the graph when the model has none. */
  readonly name?: string;
  /** Inputs that are replaced by constants, by ONNX name. */
  readonly constants?: ReadonlyMap<string, Tensor>;
}

/** A size, or the name of a symbol. */
export type Dim = number | string;

/** Declared shapes of the inputs that are not initializers. @throws E205, E209. */
export function declaredInputs(g: GraphProto, options: ImportOptions): Map<string, Dim[]> {
  const constant = new Set([...initializerNames(g), ...(options.constants?.keys() ?? [])]);
  return new Map((g.input ?? []).filter((v) => !constant.has(v.name ?? '')).map((v) => [v.name ?? '', dimsOf(v)]));
}

function dimsOf(v: ValueInfoProto): Dim[] {
  const name = v.name ?? '';
  const t = v.type?.tensorType;
  if (!t) fail('E209', 'an input is not a tensor', { node: name, expected: 'a dense tensor' });
  if (!t.shape) fail('E205', 'an input has no declared rank', { node: name, remedy: 'export the model with input shapes' });
  return (t.shape.dim ?? []).map((d, axis): Dim => {
    if (d.dimParam) return d.dimParam;
    const size = numberOf(d.dimValue);
    // A dimension that is not set reads as 0 through the prototype; some exporters write −1 for it.
    return Object.hasOwn(d, 'dimValue') && size >= 0 ? size : `${name}_dim_${axis}`;
  });
}

/** Static shapes of the inputs. @throws E205 naming each symbol without a value; E206. */
export function resolveShapes(inputs: ReadonlyMap<string, Dim[]>, options: ImportOptions, widen: boolean): Map<string, number[]> {
  const env = new Map(Object.entries(options.define ?? {}));
  for (const [lead] of inputs.values()) {
    if (typeof lead !== 'string') continue;
    if (options.batch !== undefined) env.set(lead, options.batch);
    else if (!env.has(lead)) env.set(lead, 1);
  }
  const isOpen = (d: Dim): d is string => typeof d === 'string' && !env.has(d);
  const symbols = [...new Set([...inputs.values()].flat().filter(isOpen))];
  if (symbols.length > 0) {
    const [name, dims] = [...inputs].find(([, d]) => d.some(isOpen))!;
    fail('E205', `dimension ${symbols.join(', ')} is symbolic`, {
      node: `${name}, axis ${dims.findIndex(isOpen)}`,
      found: symbols.join(', '),
      expected: 'static shapes',
      remedy: symbols.map((d) => `--define ${d}=<size>`).join(' '),
    });
  }
  return new Map([...inputs].map(([name, dims]) => {
    const shape = dims.map((d, i) => (typeof d === 'string' ? env.get(d)! : widen && i === 0 ? options.batch! : d));
    elementCount(shape, name);
    return [name, shape];
  }));
}
