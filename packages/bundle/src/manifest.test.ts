import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Manifest, SCHEMA_VERSION, parseManifest, sealManifest } from './index.js';
import { manifestBody } from './bundle.test.util.js';

const read = (m: unknown): Manifest => parseManifest(JSON.stringify(m), 'manifest.json');
const e701 = expect.objectContaining({ code: 'E701' });

/** The manifest with the value at a path replaced (undefined removes it), and a fitting checksum. */
function edited(path: readonly (string | number)[], value: unknown): Manifest {
  const body = structuredClone(manifestBody()) as never as Record<string, never>;
  const holder = path.slice(0, -1).reduce<Record<string, never>>((o, k) => o[k], body);
  if (value === undefined) delete holder[path.at(-1)!];
  else holder[path.at(-1)!] = value as never;
  return sealManifest(body as never);
}

/** Paths to every key of an object tree. */
function keys(v: unknown, at: readonly (string | number)[] = []): (string | number)[][] {
  if (typeof v !== 'object' || v === null) return [];
  return Object.entries(v).flatMap(([k, x]) => {
    const path = [...at, Array.isArray(v) ? Number(k) : k];
    return [path, ...keys(x, path)];
  });
}

describe('manifest', () => {
  it('comes back as it was written', () => {
    const m = sealManifest(manifestBody());
    expect(read(m)).toEqual(m);
    expect(parseManifest(JSON.stringify(m, null, 2), 'x')).toEqual(m);
  });

  it.each(['', '{', 'null', '[]', '7', '"bitloom"', '{}', '{"schemaVersion":"1"}', '{"schemaVersion":99}'])('refuses %j', (text) => {
    expect(() => parseManifest(text, 'm')).toThrow(e701);
  });

  it('names the version it expects', () => {
    expect(() => read({ ...manifestBody(), schemaVersion: 1 })).toThrow(expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E701', found: '1', expected: String(SCHEMA_VERSION) }) }));
  });

  it('refuses every missing key and every unknown one', () => {
    const optional = ['targets.wasm', 'targets.c', 'layers.0.kernel.wasm', 'layers.0.cost.wasm', 'latency.wasm'];
    const paths = keys(manifestBody()).filter((p) => typeof p.at(-1) === 'string' && p[0] !== 'preprocessing' && p[0] !== 'files' && !optional.includes(p.join('.')));
    expect(paths.length).toBeGreaterThan(60);
    for (const p of paths) expect(() => read(edited(p, undefined)), p.join('.')).toThrow(e701);
    for (const p of [['extra'], ['targets', 'gpu'], ['reference', 'table', 0, 'extra'], ['files', 'model.wasm', 'mode']]) expect(() => read(edited(p, 1)), p.join('.')).toThrow(e701);
  });

  it('refuses a wrong type anywhere', () => {
    for (const p of keys(manifestBody()).filter(([k]) => k !== 'preprocessing')) for (const wrong of [p.at(-1) === 'measured' ? 1 : true, { a: [] }]) expect(() => read(edited(p, wrong)), p.join('.')).toThrow(e701);
  });

  const paths = [['targets', 'wasm', 'modules', 0, 'module'], ['targets', 'wasm', 'weights'], ['targets', 'c', 'folder'], ['reference', 'program'], ['reference', 'constants'], ['reference', 'weights'], ['reference', 'vectors']];
  const climbing = ['../x', '..', '.', './x', '/etc/passwd', 'a/../../x', 'a/..', '..\\x', 'C:\\x', 'a//b', 'a/', '', 'a\u0000b', 'a\nb', 'a b', '~/x', 'file:x', 'é'];
  it.each(climbing)('refuses the path %j', (bad) => {
    for (const p of paths) expect(() => read(edited(p, bad)), p.join('.')).toThrow(e701);
    expect(() => read(edited(['files', bad], { bytes: 1, sha256: '0'.repeat(64) }))).toThrow(e701);
  });
  it.each(['model.wasm', 'a/b.c', 'a..b', '..a', '.a', 'a.', '...'])('accepts the path %j', (good) => expect(read(edited(['targets', 'wasm', 'modules', 0, 'module'], good)).targets.wasm!.modules[0].module).toBe(good));

  it.each([-1, 0.5, 2 ** 41, 1e300, '7'])('refuses the count %j', (bad) => {
    for (const p of [['targets', 'wasm', 'modules', 0, 'arenaBytes'], ['targets', 'wasm', 'modules', 0, 'weightsBase'], ['targets', 'wasm', 'modules', 0, 'inputs', 0], ['targets', 'wasm', 'modules', 0, 'results', 0, 0], ['inputs', 0, 'shape', 0], ['reference', 'table', 0, 'offset'], ['reference', 'table', 0, 'rows'], ['files', 'model.wasm', 'bytes']]) {
      expect(() => read(edited(p, bad)), p.join('.')).toThrow(e701);
    }
  });

  it('refuses contradictions: planes without bits, other numbers of addresses than ports', () => {
    expect(() => read(edited(['reference', 'table', 0, 'bits'], null))).toThrow(e701);
    expect(() => read(edited(['reference', 'table', 0, 'bits'], 9))).toThrow(e701);
    expect(() => read(edited(['targets', 'wasm', 'modules'], []))).toThrow(e701);
    for (const p of ['inputs', 'outputs']) expect(() => read(edited(['targets', 'wasm', 'modules', 0, p], []))).toThrow(e701);
  });

  it('refuses a change of any character that changes its meaning', () => {
    const text = JSON.stringify(sealManifest(manifestBody()), null, 2);
    const parsed = JSON.stringify(JSON.parse(text));
    fc.assert(fc.property(fc.nat(text.length - 1), fc.integer({ min: 0x20, max: 0x7e }), (at, c) => {
      const damaged = text.slice(0, at) + String.fromCharCode(c) + text.slice(at + 1);
      let same = false;
      try {
        same = JSON.stringify(JSON.parse(damaged)) === parsed;
      } catch {
        // Not even JSON.
      }
      if (same) expect(parseManifest(damaged, 'm')).toEqual(JSON.parse(text));
      else expect(() => parseManifest(damaged, 'm')).toThrow(e701);
    }), { numRuns: 500 });
  });
});
