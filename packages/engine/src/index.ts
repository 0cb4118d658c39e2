/** Float graphs on onnxruntime: the one place that calibration, sensitivities, training and evaluation run through. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, type TensorType, type ValueId, typeOf } from '@bitloom/ir';
import { exportOnnx } from '@bitloom/onnx';
import { showType } from '@bitloom/ops';
import { type DType, type Tensor, sameShape, tensor } from '@bitloom/tensor';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';

/** A compiled graph. Inputs and outputs are keyed by value id (or ONNX name for {@link openModel}). */
export interface Session {
  /** @throws E302 for an input that is missing or of another type, E601 when onnxruntime fails */
  run(inputs: ReadonlyMap<string, Tensor>): Promise<Map<string, Tensor>>;
  close(): Promise<void>;
}

export interface SessionOptions {
  /** Graph optimisations of onnxruntime; off gives the plain operator semantics. Default true. */
  readonly optimize?: boolean;
  /** Threads; 0 lets onnxruntime choose. */
  readonly threads?: number;
  /** What computes, as far as onnxruntime offers it here; what it cannot do runs on the CPU. Default `cpu`. */
  readonly device?: Device;
}

export const DEVICES = ['cpu', 'webgpu', 'cuda'] as const;
export type Device = (typeof DEVICES)[number];

const ORT_TYPE: Readonly<Record<DType, OrtTensor.Type>> = {
  f32: 'float32', f64: 'float64', i8: 'int8', i16: 'int16', i32: 'int32', i64: 'int64', u8: 'uint8', u16: 'uint16', u32: 'uint32',
  u64: 'uint64', bool: 'bool',
};
const OUR_TYPE = new Map(Object.entries(ORT_TYPE).map(([ours, theirs]) => [theirs as string, ours as DType]));

/** @param types of the inputs @param outputs value id of each ONNX output; both null for a file as it is */
async function open(
  bytes: Uint8Array, options: SessionOptions, types: ReadonlyMap<string, TensorType> | null, outputs: ReadonlyMap<string, string> | null,
): Promise<Session> {
  const { InferenceSession, Tensor: Ort } = await import('onnxruntime-node');
  const { device = 'cpu' } = options;
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(bytes, {
      graphOptimizationLevel: options.optimize === false ? 'disabled' : 'all',
      intraOpNumThreads: options.threads ?? 0,
      logSeverityLevel: 3,
      ...(device === 'cpu' ? {} : { executionProviders: [device, 'cpu'] }),
    });
  } catch (cause) {
    if (device !== 'cpu') {
      fail('E601', 'onnxruntime cannot use that device here', { node: `--device ${device}`, found: (cause as Error).message.split('\n')[0], remedy: '--device cpu' }, cause);
    }
    fail('E601', 'onnxruntime rejected the graph', { found: (cause as Error).message.split('\n')[0] }, cause);
  }
  return {
    async run(inputs) {
      const feeds: Record<string, OrtTensor> = {};
      for (const name of session.inputNames) {
        const t = inputs.get(name) ?? fail('E302', 'a model input is missing', { node: name, found: [...inputs.keys()].join(', ') });
        const type = types?.get(name);
        if (type && (type.dtype !== t.dtype || !sameShape(type.shape, t.shape))) {
          fail('E302', 'a model input does not fit', { node: name, found: showType(t), expected: showType(type) });
        }
        feeds[name] = new Ort(ORT_TYPE[t.dtype], t.data as never, t.shape);
      }
      const results = await session.run(feeds).catch((cause: Error) =>
        fail('E601', 'onnxruntime failed to run the graph', { found: cause.message.split('\n')[0] }, cause));
      const out = new Map<string, Tensor>();
      for (const name of session.outputNames) {
        const r = results[name];
        const dtype = OUR_TYPE.get(r.type) ?? fail('E209', 'unsupported output type', { node: name, found: r.type });
        out.set(outputs?.get(name) ?? name, tensor(dtype, r.dims, r.data as Tensor['data']));
      }
      return out;
    },
    close: () => session.release(),
  };
}

/**
 * Compiles a float graph; `outputs` are the values that {@link Session.run} returns (default: the graph's outputs).
 * @throws E601 when the graph cannot be exported or onnxruntime rejects it.
 */
export async function compileGraph(g: Graph, outputs: readonly ValueId[] = g.outputs, options: SessionOptions = {}): Promise<Session> {
  // onnxruntime takes no graph without outputs.
  if (outputs.length === 0) return { run: async () => new Map(), close: async () => {} };
  const types = new Map(g.inputs.map((id) => [id, typeOf(g, id)]));
  return open(exportOnnx(g, outputs), options, types, new Map(outputs.flatMap((id) => [[id, id], [`$out.${id}`, id]])));
}

/** Runs an ONNX file as it is: the float reference. */
export const openModel = (bytes: Uint8Array, options: SessionOptions = {}): Promise<Session> => open(bytes, options, null, null);
