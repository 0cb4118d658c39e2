/** TensorProto → Tensor: raw, typed and external data. */
import { closeSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, resolve, sep } from 'node:path';
import { BitloomError, fail } from '@bitloom/diagnostics';
import { DTYPES, type DType, type Tensor, type TypedArray, allocate, elementCount, rowMajorStrides, toNumbers } from '@bitloom/tensor';
import { type OnnxType, generatedCount, miniFloatValue, onnxType } from './data-types.js';
import { type SparseTensorProto, type TensorProto, bigOf, numberOf } from './proto.js';

const EXTERNAL = 1;

/** Little-endian elements of a type, `count` of them, from exactly as many bytes as they take. */
function fromBytes(bytes: Uint8Array, type: OnnxType & { dtype: DType }, count: number): TypedArray {
  if (type.bits < 8) return unpackSmall(bytes, type, count);
  const raw = new Uint8Array(bytes.length);
  raw.set(bytes); // aligned, and independent of the file's buffer
  if (type.float) {
    const codes = type.bits === 16 ? new Uint16Array(raw.buffer) : raw;
    return Float32Array.from({ length: count }, (_, i) => miniFloatValue(codes[i], type.float!));
  }
  if (type.dtype === 'bool') return raw.map((b) => (b === 0 ? 0 : 1));
  return new DTYPES[type.dtype].array(raw.buffer, 0, count);
}

/** Types of 4 and 2 bits: several to a byte, lowest bits first. */
function unpackSmall(bytes: Uint8Array, type: OnnxType & { dtype: DType }, count: number): TypedArray {
  const perByte = 8 / type.bits;
  const mask = (1 << type.bits) - 1;
  const out = new DTYPES[type.dtype].array(count) as Int8Array | Uint8Array | Float32Array;
  for (let i = 0; i < count; i++) {
    const code = (bytes[Math.floor(i / perByte)] >> ((i % perByte) * type.bits)) & mask;
    if (type.float) out[i] = miniFloatValue(code, type.float);
    else out[i] = type.dtype === 'i8' && code > mask >> 1 ? code - mask - 1 : code;
  }
  return out;
}

/** The typed field that holds a type's elements when `raw_data` is absent. */
function typedField(p: TensorProto, type: OnnxType & { dtype: DType }): readonly unknown[] {
  if (type.code === 1) return p.floatData ?? [];
  if (type.code === 11) return p.doubleData ?? [];
  if (type.code === 7) return p.int64Data ?? [];
  if (type.code === 12 || type.code === 13) return p.uint64Data ?? [];
  return p.int32Data ?? [];
}

function fromTyped(values: readonly unknown[], type: OnnxType & { dtype: DType }, count: number): TypedArray {
  if (type.bits < 8) return unpackSmall(Uint8Array.from(values, numberOf), type, count);
  if (type.float) return Float32Array.from(values, (v) => miniFloatValue(numberOf(v), type.float!));
  const out = new DTYPES[type.dtype].array(count);
  for (let i = 0; i < count; i++) {
    if (out instanceof BigInt64Array || out instanceof BigUint64Array) out[i] = bigOf(values[i]);
    else out[i] = type.dtype === 'bool' ? Number(numberOf(values[i]) !== 0) : numberOf(values[i]);
  }
  return out;
}

/**
 * Bytes of a tensor kept in another file. The path must be relative and stay, with links resolved, inside the model's folder.
 * @throws E203 when it does not, when the file is missing, or when it is too short.
 */
function readExternal(p: TensorProto, expected: number, name: string, folder: string | undefined): Uint8Array {
  const entry = new Map((p.externalData ?? []).map((e) => [e.key ?? '', e.value ?? '']));
  const location = entry.get('location') ?? '';
  const bad = (message: string, details: { found?: string; expected?: string } = {}): never =>
    fail('E203', `external data of ${name}: ${message}`, {
      node: name, found: location, remedy: 'keep the data file beside the model, as it was exported', ...details,
    });
  /** A system error as E203; others as they are. */
  const unreadable = (error: unknown): never => {
    if (error instanceof BitloomError || !(error instanceof Error && 'code' in error)) throw error;
    return bad(`cannot be read (${error.code})`);
  };
  if (folder === undefined) bad('the model was not read from a folder');
  if (location === '' || location.includes('\0') || isAbsolute(location) || /^[A-Za-z]:|\\/.test(location)) bad('the location is not a relative path');
  const number = (key: string, absent: number): number => {
    const text = entry.get(key);
    if (text === undefined) return absent;
    const v = Number(text);
    return /^\d+$/.test(text) && Number.isSafeInteger(v) ? v : bad(`${key} is not a byte count`, { found: text });
  };
  let path = '';
  let size = 0;
  try {
    const base = realpathSync(folder!);
    path = realpathSync(resolve(base, location));
    if (!path.startsWith(base.endsWith(sep) ? base : base + sep)) bad('the location lies outside the model folder');
    const stat = statSync(path);
    if (!stat.isFile()) bad('the location is not a file');
    size = stat.size;
  } catch (error) {
    unreadable(error);
  }
  const offset = number('offset', 0);
  const length = number('length', expected);
  if (length !== expected) bad('the length does not fit the shape', { found: `${length} bytes`, expected: `${expected} bytes` });
  if (offset + length > size) bad('the file is too short', { found: `${size} bytes`, expected: `${offset + length} bytes` });
  const out = new Uint8Array(length);
  let file: number | null = null;
  try {
    file = openSync(path, 'r');
    for (let at = 0; at < length; ) {
      const n = readSync(file, out, at, length - at, offset + at);
      if (n === 0) bad('the file is too short');
      at += n;
    }
  } catch (error) {
    unreadable(error);
  } finally {
    if (file !== null) closeSync(file);
  }
  return out;
}

/** The element type of a TensorProto and its shape, both checked. @throws E206, E209. */
export function tensorHeader(p: TensorProto, name: string): { type: OnnxType & { dtype: DType }; shape: number[]; count: number } {
  const shape = (p.dims ?? []).map(numberOf);
  return { shape, count: elementCount(shape, name), type: onnxType(p.dataType, name) };
}

/**
 * A tensor of the file. Narrow floats become f32; 4- and 2-bit integers become i8 or u8, one per element.
 * @param folder where external data may lie
 * @throws E203 external data, E204 data that does not fit the shape, E206 too large, E209 element type.
 */
export function readTensor(p: TensorProto, name: string, folder?: string): Tensor {
  const { type, shape, count } = tensorHeader(p, name);
  const bytes = Math.ceil((count * type.bits) / 8);
  const misfit = (found: string, expected: string): never =>
    fail('E204', 'tensor data does not fit its shape', { node: name, found, expected: `${expected} for [${shape.join(', ')}]` });
  if (Number(p.dataLocation ?? 0) === EXTERNAL) return { dtype: type.dtype, shape, data: fromBytes(readExternal(p, bytes, name, folder), type, count) };
  if (p.rawData?.length) {
    if (p.rawData.length !== bytes) misfit(`${p.rawData.length} bytes`, `${bytes} bytes`);
    return { dtype: type.dtype, shape, data: fromBytes(p.rawData, type, count) };
  }
  const values = typedField(p, type);
  const expected = type.bits < 8 ? bytes : count;
  if (values.length !== expected) misfit(`${values.length} elements`, `${expected} elements`);
  return { dtype: type.dtype, shape, data: fromTyped(values, type, count) };
}

/** A sparse tensor, made dense: `indices` are linear positions, or one row of coordinates per value. @throws as {@link readTensor}. */
export function readSparse(p: SparseTensorProto, folder?: string): Tensor {
  const name = p.values?.name ?? '';
  const shape = (p.dims ?? []).map(numberOf);
  generatedCount(shape, name);
  const values = readTensor(p.values ?? {}, name, folder);
  const indices = toNumbers(readTensor(p.indices ?? {}, name, folder));
  const out = allocate(values.dtype, shape);
  const n = values.data.length;
  const strides = indices.length === n ? [1] : rowMajorStrides(shape);
  for (let i = 0; i < n; i++) {
    const at = strides.reduce((sum, s, axis) => sum + s * indices[i * strides.length + axis], 0);
    if (!Number.isInteger(at) || at < 0 || at >= out.data.length) {
      fail('E204', 'sparse tensor index is out of range', { node: name, found: String(at), expected: `[${shape.join(', ')}]` });
    }
    out.data[at] = values.data[i];
  }
  return out;
}
