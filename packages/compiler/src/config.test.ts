import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { compileConfigSchema, parseConfig, readConfig } from './config.js';

const folder = mkdtempSync(join(tmpdir(), 'bitloom-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'bitloom.config.json');

test('paths are relative to the file, data kinds stay, only what is stated comes back', async () => {
  writeFileSync(file, JSON.stringify({ $schema: 'x', calib: 'images:train', assignment: 'a.json', output: '/abs/out', seed: 3 }));
  expect(await readConfig(file)).toEqual({ calib: `images:${join(folder, 'train')}`, assignment: join(folder, 'a.json'), output: '/abs/out', seed: 3 });
});

test('defaults', () => {
  expect(parseConfig(compileConfigSchema, {})).toMatchObject({ samples: 1024, target: ['wasm'], calibration: 'mse', biasCorrection: true, output: null, pin: [], seed: 0 });
});

test('the first bad option is named', () => {
  expect(() => parseConfig(compileConfigSchema, { samples: 0 })).toThrow(expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E101', node: 'samples' }) }));
  expect(() => parseConfig(compileConfigSchema, { nonsense: 1 })).toThrow(expect.objectContaining({ code: 'E101' }));
});
