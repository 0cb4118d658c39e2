import { BitloomError } from '@bitloom/diagnostics';
import { describe, expect, it } from 'vitest';
import { readNpy, writeNpy } from './npy.js';
import { NUMPY } from './npy.test.fixtures.js';
import { Rng } from './rng.js';
import { type Tensor, toNumbers, tensorOf } from './tensor.js';

const bytes = (key: keyof typeof NUMPY): Uint8Array => new Uint8Array(Buffer.from(NUMPY[key], 'base64'));

/** A version 1.0 file with a header of our choosing. */
function file(header: string, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const h = Buffer.from(header, 'latin1');
  return new Uint8Array(Buffer.concat([Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, h.length & 255, h.length >> 8]), h, data]));
}

function code(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof BitloomError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('readNpy', () => {
  const expected: [keyof typeof NUMPY, Tensor['dtype'], number[], (number | bigint)[]][] = [
    ['f4', 'f32', [2, 3], [-0.5, -0.25, 0, 0.25, 0.5, 0.75]],
    ['bigF8Fortran', 'f64', [2, 3], [0, 1.5, 3, 4.5, 6, 7.5]],
    ['f2', 'f32', [10], [0, -0, 1, -2.5, 65504, 2 ** -24, 1023 * 2 ** -24, Infinity, -Infinity, NaN]],
    ['i1', 'i8', [2], [-128, 127]],
    ['bigI2', 'i16', [2], [-2, 300]],
    ['i4', 'i32', [2, 1], [-1, 2 ** 31 - 1]],
    ['bigI8', 'i64', [2], [-(2n ** 63n), 2n ** 53n + 1n]],
    ['u1', 'u8', [2], [0, 255]],
    ['bigU2', 'u16', [2], [1, 65535]],
    ['u4', 'u32', [1], [2 ** 32 - 1]],
    ['u8', 'u64', [1], [2n ** 64n - 1n]],
    ['b1', 'bool', [2, 2], [1, 0, 0, 1]],
    ['scalar', 'f32', [], [3.25]],
    ['empty', 'f32', [0, 4], []],
    ['fortran3', 'i16', [2, 3, 4], Array.from({ length: 24 }, (_, i) => i)],
    ['v2', 'i32', [2, 3], [0, 1, 2, 3, 4, 5]],
    ['v3', 'i32', [2, 3], [0, 1, 2, 3, 4, 5]],
  ];
  it.each(expected)('reads what numpy wrote: %s', (key, dtype, shape, values) => {
    const t = readNpy(bytes(key));
    expect(t.dtype).toBe(dtype);
    expect(t.shape).toEqual(shape);
    expect([...(t.data as Iterable<number | bigint>)]).toEqual(values);
  });

  it('reads from an unaligned view', () => {
    const inner = bytes('f4');
    const outer = new Uint8Array(inner.length + 3);
    outer.set(inner, 3);
    expect(toNumbers(readNpy(outer.subarray(3)))).toEqual([-0.5, -0.25, 0, 0.25, 0.5, 0.75]);
    expect(toNumbers(readNpy(Buffer.from(outer).subarray(3)))).toEqual([-0.5, -0.25, 0, 0.25, 0.5, 0.75]);
  });

  it.each(['object', 'record', 'string', 'complex'] as const)('refuses %s arrays', (key) => {
    expect(code(() => readNpy(bytes(key)))).toBe('E301');
  });

  it('refuses every truncation and trailing bytes', () => {
    const whole = bytes('f4');
    for (let n = 0; n < whole.length; n++) expect(code(() => readNpy(whole.subarray(0, n)))).toBe('E301');
    expect(code(() => readNpy(Uint8Array.of(...whole, 0)))).toBe('E301');
  });

  it.each([
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }", 'E206'],
    [`{'descr': '<f4', 'fortran_order': False, 'shape': (${'9'.repeat(400)},), }`, 'E206'],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (65536, 65536), }", 'E206'],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 'E301'],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (1000,), }", 'E301'],
    [`{'descr': '<f4', 'fortran_order': False, 'shape': (${'1,'.repeat(2000)}), }`, 'E301'],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (0,), 'more': 1}", 'E301'],
    ["{'fortran_order': False, 'shape': (0,), }", 'E301'],
    ["{'descr': '<q9', 'fortran_order': False, 'shape': (0,), }", 'E301'],
    ["{'descr': '', 'fortran_order': False, 'shape': (0,), }", 'E301'],
    ["__import__('os')", 'E301'],
    ['', 'E301'],
  ])('refuses the header %s', (header, expectedCode) => {
    expect(code(() => readNpy(file(header)))).toBe(expectedCode);
  });

  it('answers corrupted bytes with an array or a coded error', () => {
    const rng = new Rng(1);
    for (const key of ['f4', 'v3', 'fortran3'] as const) {
      for (let trial = 0; trial < 500; trial++) {
        const damaged = bytes(key);
        damaged[rng.int(damaged.length)] = rng.int(256);
        expect(['no error', 'E301', 'E206']).toContain(code(() => readNpy(damaged)));
      }
    }
  });
});

describe('writeNpy', () => {
  it.each(['f4', 'i1', 'i4', 'u1', 'u4', 'u8', 'b1', 'scalar', 'empty'] as const)('writes the bytes numpy writes: %s', (key) => {
    const original = bytes(key);
    expect(Buffer.from(writeNpy(readNpy(original))).equals(Buffer.from(original))).toBe(true);
  });

  it('keeps every dtype through a round trip', () => {
    for (const dtype of ['f32', 'f64', 'i8', 'i16', 'i32', 'i64', 'u8', 'u16', 'u32', 'u64', 'bool'] as const) {
      const t = tensorOf(dtype, [3, 1, 2], [0, 1, 1, 0, 1, 1]);
      expect(readNpy(writeNpy(t))).toEqual(t);
    }
  });
});
