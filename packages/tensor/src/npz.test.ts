import { BitloomError } from '@bitloom/diagnostics';
import { zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { NUMPY } from './npy.test.fixtures.js';
import { writeNpy } from './npy.js';
import { readNpz, writeNpz } from './npz.js';
import { Rng } from './rng.js';
import { tensorOf, toNumbers } from './tensor.js';

const bytes = (key: 'npz' | 'npzDeflated'): Uint8Array => new Uint8Array(Buffer.from(NUMPY[key], 'base64'));

function code(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof BitloomError) return error.code;
    throw error;
  }
  return 'no error';
}

const sample = new Map([
  ['y', tensorOf('i64', [2], [7, -1])],
  ['x', tensorOf('f32', [2, 2], [0.5, 1.5, -2, 4])],
]);

describe('readNpz', () => {
  it('reads numpy.savez', () => {
    const arrays = readNpz(bytes('npz'));
    expect([...arrays.keys()]).toEqual(['labels', 'x']);
    expect(toNumbers(arrays.get('x')!)).toEqual([0, 0.25, 0.5, 0.75, 1, 1.25]);
    expect(arrays.get('labels')).toMatchObject({ dtype: 'i64', shape: [2] });
    expect(toNumbers(arrays.get('labels')!)).toEqual([3, -1]);
  });

  it('reads numpy.savez_compressed', () => {
    const arrays = readNpz(bytes('npzDeflated'));
    expect(arrays.get('x')!.shape).toEqual([20, 30]);
    expect(toNumbers(arrays.get('y')!)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('refuses every truncation', () => {
    const whole = bytes('npz');
    for (let n = 0; n < whole.length; n++) expect(code(() => readNpz(whole.subarray(0, n)))).toBe('E301');
  });

  it.each(['npz', 'npzDeflated'] as const)('detects damage anywhere in the data of %s', (key) => {
    const whole = bytes(key);
    const rng = new Rng(2);
    for (let trial = 0; trial < 1500; trial++) {
      const damaged = whole.slice();
      damaged[rng.int(damaged.length)] ^= 1 + rng.int(255);
      expect(['no error', 'E301', 'E206']).toContain(code(() => readNpz(damaged)));
    }
    const stored = bytes('npz');
    const at = Buffer.from(stored).indexOf(Buffer.from(new Float32Array([1.25]).buffer));
    stored[at] ^= 1; // the checksum is what catches this one
    expect(code(() => readNpz(stored))).toBe('E301');
  });

  it('bounds the unpacked size by what the directory declares', () => {
    const bomb = zipSync({ 'x.npy': writeNpy(tensorOf('u8', [1 << 20], new Uint8Array(1 << 20))) }, { level: 9 });
    expect(bomb.length).toBeLessThan(4000);
    expect(code(() => readNpz(bomb, { maxBytes: 1 << 20 }))).toBe('E301');
    expect(code(() => readNpz(bomb, { maxBytes: 1 << 21 }))).toBe('no error');
    // A directory that declares less than the stream holds.
    const view = new DataView(bomb.buffer, bomb.byteOffset);
    const directory = view.getUint32(bomb.length - 22 + 16, true);
    view.setUint32(directory + 24, 100, true);
    expect(code(() => readNpz(bomb))).toBe('E301');
  });

  it('refuses entries that are not arrays, and zip64', () => {
    expect(code(() => readNpz(zipSync({ 'x.txt': new Uint8Array(3) })))).toBe('E301');
    const big = bytes('npz');
    new DataView(big.buffer).setUint16(big.length - 22 + 10, 0xffff, true);
    expect(code(() => readNpz(big))).toBe('E301');
  });
});

describe('writeNpz', () => {
  it.each([false, true])('round trip, deterministic whatever the insertion order (compress %s)', (compress) => {
    const a = writeNpz(sample, { compress });
    const b = writeNpz(new Map([...sample].reverse()), { compress });
    expect(Buffer.from(a).equals(Buffer.from(b))).toBe(true);
    const back = readNpz(a);
    expect([...back.keys()]).toEqual(['x', 'y']);
    for (const [name, t] of sample) expect(back.get(name)).toEqual(t);
  });

  it('does not depend on the time zone', () => {
    const zone = process.env.TZ;
    const written = ['UTC', 'Asia/Tokyo', 'America/Los_Angeles'].map((tz) => {
      process.env.TZ = tz;
      return Buffer.from(writeNpz(sample)).toString('base64');
    });
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
    expect(new Set(written).size).toBe(1);
  });
});
