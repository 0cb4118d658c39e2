import { fail } from '@bitloom/diagnostics';
import { DTYPES, type DType, type TypedArray, elementCount } from './dtype.js';
import { type Tensor, bytesOf, rowMajorStrides } from './tensor.js';

/** numpy `descr` without its byte-order mark → dtype; `f2` is read as f32. */
const READABLE: Readonly<Record<string, { dtype: DType; bytes: number }>> = {
  f2: { dtype: 'f32', bytes: 2 },
  f4: { dtype: 'f32', bytes: 4 },
  f8: { dtype: 'f64', bytes: 8 },
  i1: { dtype: 'i8', bytes: 1 },
  i2: { dtype: 'i16', bytes: 2 },
  i4: { dtype: 'i32', bytes: 4 },
  i8: { dtype: 'i64', bytes: 8 },
  u1: { dtype: 'u8', bytes: 1 },
  u2: { dtype: 'u16', bytes: 2 },
  u4: { dtype: 'u32', bytes: 4 },
  u8: { dtype: 'u64', bytes: 8 },
  b1: { dtype: 'bool', bytes: 1 },
};

const WRITABLE: Readonly<Record<DType, string>> = {
  f32: '<f4',
  f64: '<f8',
  i8: '|i1',
  i16: '<i2',
  i32: '<i4',
  i64: '<i8',
  u8: '|u1',
  u16: '<u2',
  u32: '<u4',
  u64: '<u8',
  bool: '|b1',
};

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const MAX_HEADER = 1 << 16;
const MAX_RANK = 64;

/**
 * Array of one `.npy` file (format versions 1 to 3, either byte order, C or Fortran order), in row-major order.
 * @param name what the bytes are called in errors
 * @throws E301 when the bytes are not a complete array of plain numbers or booleans (pickled objects, records and
 *   strings are refused), E206 when the shape is too large.
 */
export function readNpy(bytes: Uint8Array, name = 'npy file'): Tensor {
  const bad = (message: string, found?: string, expected?: string, remedy?: string): never =>
    fail('E301', `${name}: ${message}`, { node: name, found, expected, remedy });
  if (bytes.length < 10 || MAGIC.some((b, i) => bytes[i] !== b)) {
    bad('not a numpy array file', `${bytes.length} bytes`, 'a file that starts with \\x93NUMPY');
  }
  const version = bytes[6];
  if (version < 1 || version > 3) bad('unknown version of the npy format', `${version}.${bytes[7]}`, '1.0 to 3.0');
  const prefix = version === 1 ? 10 : 12;
  if (bytes.length < prefix) bad('the header is cut short');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerLength = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (headerLength > MAX_HEADER || prefix + headerLength > bytes.length) {
    bad('the header is cut short or too long', `${headerLength} bytes`, `at most ${Math.min(MAX_HEADER, bytes.length - prefix)} bytes`);
  }
  const header = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(bytes.subarray(prefix, prefix + headerLength)).trim();
  const { descr, fortran, shape } =
    parseHeader(header) ?? bad('the header does not parse', header.slice(0, 120), "{'descr': …, 'fortran_order': …, 'shape': …}");

  const type = READABLE[descr.slice(1)];
  if (!type || !'<>|='.includes(descr[0])) {
    const objects = descr.includes('O') || descr.includes('[');
    bad(
      objects ? 'object and structured arrays are not read' : 'unsupported element type',
      `dtype ${descr}`,
      Object.keys(READABLE).join(', '),
      'save plain numbers, for example with x.astype("float32")',
    );
  }
  const count = elementCount(shape, name);
  const body = bytes.subarray(prefix + headerLength);
  if (body.length !== count * type.bytes) {
    const message = body.length < count * type.bytes ? 'the data is cut short' : 'bytes follow the data';
    bad(message, `${body.length} bytes`, `${count * type.bytes} bytes for [${shape.join(', ')}] of ${descr}`);
  }
  const flat = decode(body, descr, type, count);
  return { dtype: type.dtype, shape, data: fortran ? fromFortran(flat, type.dtype, shape) : flat };
}

/** The three entries of the header's Python dictionary, in any order; nothing else is accepted. */
function parseHeader(header: string): { descr: string; fortran: boolean; shape: number[] } | undefined {
  const inner = /^\{(.*?),?\s*\}$/s.exec(header)?.[1];
  if (inner === undefined) return undefined;
  let rest = inner;
  const take = (pattern: RegExp): string | undefined => {
    const match = pattern.exec(rest);
    if (match) rest = rest.replace(match[0], '');
    return match === null ? undefined : (match[1] ?? '[…]'); // a list: the fields of a record
  };
  const descr = take(/['"]descr['"]\s*:\s*(?:['"]([^'"]*)['"]|\[.*\])/s);
  const order = take(/['"]fortran_order['"]\s*:\s*(True|False)/);
  const dims = take(/['"]shape['"]\s*:\s*\(([\d\sL,]*)\)/);
  if (descr === undefined || order === undefined || dims === undefined || !/^[\s,]*$/.test(rest)) return undefined;
  const shape = dims
    .split(',')
    .map((d) => d.trim().replace(/L$/, ''))
    .filter((d) => d !== '')
    .map(Number);
  return shape.length > MAX_RANK ? undefined : { descr, fortran: order === 'True', shape };
}

function decode(body: Uint8Array, descr: string, type: { dtype: DType; bytes: number }, count: number): TypedArray {
  const raw = new Uint8Array(body); // own, aligned buffer, even where the bytes are a Node Buffer
  if (descr[0] === '>') reverseElements(raw, type.bytes);
  if (type.dtype === 'bool') return raw.map((b) => (b === 0 ? 0 : 1));
  if (descr.endsWith('f2')) return Float32Array.from(new Uint16Array(raw.buffer), halfToFloat);
  return new DTYPES[type.dtype].array(raw.buffer, 0, count);
}

function reverseElements(raw: Uint8Array, size: number): void {
  for (let i = 0; i < raw.length; i += size) raw.subarray(i, i + size).reverse();
}

/** IEEE 754 binary16, given as its bits, as a number (exact). */
function halfToFloat(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Column-major elements in row-major order. */
function fromFortran(data: TypedArray, dtype: DType, shape: readonly number[]): TypedArray {
  const out = new DTYPES[dtype].array(data.length);
  const strides = rowMajorStrides(shape);
  const index = new Array<number>(shape.length).fill(0);
  let to = 0;
  for (let from = 0; from < data.length; from++) {
    out[to] = data[from];
    for (let axis = 0; axis < shape.length; axis++) {
      to += strides[axis];
      if (++index[axis] < shape[axis]) break;
      to -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/** `.npy` bytes of a tensor, the same that `numpy.save` writes (version 1.0, little endian, C order). */
export function writeNpy(t: Tensor): Uint8Array {
  const tuple = t.shape.length === 1 ? `(${t.shape[0]},)` : `(${t.shape.join(', ')})`;
  let header = `{'descr': '${WRITABLE[t.dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // numpy leaves room for the first dimension to grow to 21 digits, then aligns the data to 64 bytes.
  if (t.shape.length > 0) header += ' '.repeat(Math.max(0, 21 - String(t.shape[0]).length));
  header += ' '.repeat(64 - ((10 + header.length + 1) % 64)) + '\n';
  const data = bytesOf(t);
  const out = new Uint8Array(10 + header.length + data.length);
  out.set([...MAGIC, 1, 0, header.length & 255, header.length >> 8]);
  out.set(new TextEncoder().encode(header), 10);
  out.set(data, 10 + header.length);
  return out;
}
