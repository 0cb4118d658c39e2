/** A hand-made bundle: y = 2·x + w[0], z = the bits of x as integers, in a few lines of WebAssembly. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelSpec } from '@bitloom/runtime';
import { type Files, type Manifest, SCHEMA_VERSION, fileTable, sealManifest, writeLoader } from './index.js';

const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
const section = (id: number, ...body: (number | readonly number[])[]): number[] => {
  const bytes = body.flat();
  return [id, ...leb(bytes.length), ...bytes];
};
const text = (s: string): number[] => [...leb(s.length), ...new TextEncoder().encode(s)];
/** Signed constants below 64 take one byte. */
const i32 = (n: number): number[] => [0x41, n];

/** Weights at 32, which preparation copies to 36. */
const prepare = [...i32(36), ...i32(32), 0x28, 2, 0, 0x36, 2, 0];
/** Prepared weights at 36, x: f32[1,2] at 0, y: f32[1,2] at 8, z: i32[2] at 16. */
const run = [0, 1].flatMap((i) => [
  ...i32(8 + 4 * i), ...i32(4 * i), 0x2a, 2, 0, ...i32(4 * i), 0x2a, 2, 0, 0x92, ...i32(36), 0x2a, 2, 0, 0x92, 0x38, 2, 0,
  ...i32(16 + 4 * i), ...i32(4 * i), 0x28, 2, 0, 0x36, 2, 0,
]);
export const WASM = Uint8Array.from([
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  ...section(1, [1, 0x60, 0, 0]),
  ...section(3, [2, 0, 0]),
  ...section(5, [1, 0, 1]),
  ...section(7, [3], text('memory'), [2, 0], text('run'), [0, 0], text('prepare'), [0, 1]),
  ...section(10, [2], ...[run, prepare].flatMap((body) => [leb(body.length + 2), [0], body, [0x0b]])),
]);

export const SPEC: ModelSpec = {
  weightsBytes: 4,
  inputs: [{ name: 'x', dtype: 'f32', shape: [1, 2] }],
  outputs: [{ name: 'y', dtype: 'f32', shape: [1, 2] }, { name: 'odd name/0', dtype: 'i32', shape: [2] }],
  modules: [{ file: 'model.wasm', features: ['simd128'], weightsBase: 32, inputs: [0], outputs: [8, 16] }],
};

export const WEIGHTS = new Uint8Array(Float32Array.of(0.5).buffer);

const port = (p: ModelSpec['inputs'][number]): Manifest['inputs'][number] => ({ name: p.name, dtype: p.dtype, shape: [...p.shape], scale: null, zeroPoint: null });

export function bundleFiles(): Files {
  const files = new Map<string, Uint8Array | string>([
    ['model.wasm', WASM],
    ['weights.bin', WEIGHTS],
    ['reference/program.json', '{}'],
    ...writeLoader('Tiny Net é', SPEC, 'weights.bin'),
  ]);
  return files.set('manifest.json', JSON.stringify(sealManifest(manifestBody(files)), null, 2));
}

export const manifestBody = (files: Files = new Map([['model.wasm', WASM]])): Omit<Manifest, 'checksum'> => ({
  schemaVersion: SCHEMA_VERSION,
  generator: { name: 'bitloom', version: '0.0.1' },
  model: { name: 'tiny', sha256: 'a'.repeat(64), opset: 17 },
  inputs: SPEC.inputs.map(port),
  outputs: SPEC.outputs.map(port),
  classifier: 'logits',
  targets: {
    wasm: {
      weights: 'weights.bin',
      modules: [{
        module: 'model.wasm', features: ['simd128'], arenaBytes: 32, weightsBase: 32, arenaBase: 0, codeBytes: WASM.length,
        inputs: [0], outputs: [8, 16], results: [[8, 16]],
      }],
    },
    c: { folder: 'c', name: 'model', arenaBytes: 64, codeBytes: 100 },
  },
  reference: {
    program: 'reference/program.json', constants: 'c.bin', weights: 'weights.bin', vectors: 'v.npz',
    table: [{ buffer: 0, packing: 'planes', rows: 1, k: 1, bits: 4, offset: 0, bytes: 4 }],
  },
  layers: [{ name: 'conv', op: 'conv', weightBits: 4, activationBits: 8, kernel: { wasm: 'int8' },
    cost: { wasm: { ns: 20, measured: true, runnerUp: 'bitserial__simd128', runnerUpNs: 30.5 } }, macs: 10, params: 5 }],
  latency: { wasm: 25 },
  bits: { weights: 4, activations: 8 },
  bytes: { weights: 4, code: 100, arena: 32, live: 32, floatWeights: 20 },
  cost: { bops: 320 },
  search: { strategy: 'uniform', objective: null, lowerBound: null, gap: null },
  calibration: { data: 'synthetic', samples: 3, method: 'mse' },
  preprocessing: { scale: 0.5 },
  files: fileTable(files),
});

export function temporaryFolder(): { readonly path: (name: string) => string; readonly root: string; dispose(): void } {
  const root = mkdtempSync(join(tmpdir(), 'bitloom-bundle-'));
  return { root, path: (name) => join(root, name), dispose: () => rmSync(root, { recursive: true, force: true }) };
}
