import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { abandonOutput, assertReplaceable, fileTable, openBundle, sealManifest, sha256, writeFileAtomic, writeFolder } from './index.js';
import { WASM, bundleFiles, manifestBody, temporaryFolder } from './bundle.test.util.js';

let temp: ReturnType<typeof temporaryFolder>;
beforeEach(() => void (temp = temporaryFolder()));
afterEach(() => temp.dispose());

const coded = (code: string): unknown => expect.objectContaining({ code });
const tree = (dir: string): Record<string, string> =>
  Object.fromEntries(readdirSync(dir, { recursive: true, withFileTypes: true }).filter((f) => f.isFile()).map((f) => join(f.parentPath, f.name)).sort().map((f) => [f.slice(dir.length + 1), readFileSync(f, 'latin1')]));
const written = (): Record<string, string> => Object.fromEntries([...bundleFiles()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, data]) => [path, Buffer.from(data as Uint8Array).toString('latin1')]));

describe('writeFolder', () => {
  it('writes exactly the files, makes parents, and leaves nothing else', async () => {
    await writeFolder(temp.path('a/b/out'), bundleFiles());
    expect(tree(temp.path('a/b/out'))).toEqual(written());
    expect(readdirSync(temp.path('a/b'))).toEqual(['out']);
  });

  it('replaces an older bundle as a whole, whatever its version', async () => {
    const out = temp.path('out');
    await writeFolder(out, new Map([['manifest.json', '{"schemaVersion":0,"generator":{"name":"bitloom"}}'], ['stale.bin', 'x']]));
    await writeFolder(out, bundleFiles());
    expect(tree(out)).toEqual(written());
    expect(readdirSync(temp.root)).toEqual(['out']);
  });

  it.skipIf(!existsSync('/proc/self'))('refuses a place that takes no entries, at once', async () => {
    await expect(writeFolder('/proc/none/out', bundleFiles())).rejects.toEqual(coded('E703'));
    await expect(writeFileAtomic('/proc/none/y.npy', 'x')).rejects.toEqual(coded('E703'));
  });

  it('takes an empty folder', async () => {
    mkdirSync(temp.path('out'));
    expect(await assertReplaceable(temp.path('out'))).toBe(true);
    expect(await assertReplaceable(temp.path('free/below'))).toBe(false);
    await writeFolder(temp.path('out'), bundleFiles());
    expect(tree(temp.path('out'))).toEqual(written());
  });

  it.each([
    ['a folder of other things', { 'precious.txt': 'x' }],
    ['a web page with a manifest of its own', { 'manifest.json': '{"name":"My page","start_url":"/"}', 'index.html': '' }],
    ['a manifest that is no JSON', { 'manifest.json': 'name: x' }],
    ['a manifest that is null', { 'manifest.json': 'null' }],
  ])('refuses %s and leaves it alone', async (_, files) => {
    const out = temp.path('out');
    mkdirSync(out);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(out, name), text);
    await expect(writeFolder(out, bundleFiles())).rejects.toThrow(coded('E703'));
    await expect(assertReplaceable(out)).rejects.toThrow(coded('E703'));
    expect(tree(out)).toEqual(files);
    expect(readdirSync(temp.root)).toEqual(['out']);
  });

  it('refuses a file, and what lies below a file', async () => {
    writeFileSync(temp.path('out'), 'precious');
    await expect(writeFolder(temp.path('out'), bundleFiles())).rejects.toThrow(coded('E703'));
    await expect(writeFolder(temp.path('out/x/y'), bundleFiles())).rejects.toThrow(coded('E703'));
    expect(tree(temp.root)).toEqual({ out: 'precious' });
  });

  it('leaves nothing behind when it fails halfway, and an older bundle as it was', async () => {
    // "a" is written as a file, so that "a/b" cannot be.
    const broken = new Map([['ok.bin', 'x'], ['a', 'file'], ['a/b', 'x']]);
    await expect(writeFolder(temp.path('new/deep/out'), broken)).rejects.toThrow(coded('E703'));
    expect(readdirSync(temp.root)).toEqual([]);
    await writeFolder(temp.path('out'), bundleFiles());
    await expect(writeFolder(temp.path('out'), broken)).rejects.toThrow(coded('E703'));
    expect(readdirSync(temp.root)).toEqual(['out']);
    expect(tree(temp.path('out'))).toEqual(written());
  });
});

describe('abandonOutput', () => {
  const nonce = '0123456789ab';
  it('removes what was begun and puts back what was moved away', async () => {
    await writeFolder(temp.path('out'), bundleFiles());
    renameSync(temp.path('out'), temp.path(`out.${nonce}.old`));
    mkdirSync(temp.path(`out.${nonce}.tmp`));
    for (const other of ['out2', 'out.bak.tmp', 'other.0123456789ab.tmp']) writeFileSync(temp.path(other), '');
    abandonOutput(temp.path('out'));
    expect(readdirSync(temp.root).sort()).toEqual(['other.0123456789ab.tmp', 'out', 'out.bak.tmp', 'out2']);
    expect(tree(temp.path('out'))).toEqual(written());
  });
  it('drops what was moved away once its successor is in place', async () => {
    await writeFolder(temp.path('out'), bundleFiles());
    mkdirSync(temp.path(`out.${nonce}.old`));
    abandonOutput(temp.path('out'));
    expect(readdirSync(temp.root)).toEqual(['out']);
    abandonOutput(temp.path('no/such/folder'));
  });
});

describe('writeFileAtomic', () => {
  it('writes, replaces, and leaves nothing behind on failure', async () => {
    await writeFileAtomic(temp.path('a/b.json'), '1');
    await writeFileAtomic(temp.path('a/b.json'), '2');
    expect(tree(temp.root)).toEqual({ 'a/b.json': '2' });
    mkdirSync(temp.path('dir/full'), { recursive: true });
    await expect(writeFileAtomic(temp.path('dir'), 'x')).rejects.toThrow(coded('E703'));
    await expect(writeFileAtomic(temp.path('a/b.json/c'), 'x')).rejects.toThrow(coded('E703'));
    expect(readdirSync(temp.root).sort()).toEqual(['a', 'dir']);
  });
});

describe('openBundle', () => {
  let out: string;
  beforeEach(async () => {
    out = temp.path('out');
    await writeFolder(out, bundleFiles());
  });

  it('reads every file, as an array of its own', async () => {
    const bundle = await openBundle(out);
    const wasm = await bundle.read('model.wasm');
    expect(wasm).toEqual(WASM);
    expect(Buffer.isBuffer(wasm)).toBe(false);
    expect(sha256(wasm)).toBe(bundle.manifest.files['model.wasm'].sha256);
    await expect(bundle.read('nothing')).rejects.toThrow(coded('E701'));
    await expect(bundle.read('../out/model.wasm')).rejects.toThrow(coded('E701'));
  });

  it('detects any single flipped byte of any file', async () => {
    for (const [path, data] of bundleFiles()) {
      const bytes = Buffer.from(data as Uint8Array);
      const step = Math.max(1, Math.floor(bytes.length / 12));
      for (let at = 0; at < bytes.length; at += step) {
        const damaged = Buffer.from(bytes);
        damaged[at] ^= 1 << (at & 7);
        // White space in the manifest means nothing; everything else does.
        if (path === 'manifest.json' && bytes[at] <= 0x20) continue;
        writeFileSync(join(out, path), damaged);
        await expect(openBundle(out), `${path} at ${at}`).rejects.toThrow(coded('E701'));
      }
      writeFileSync(join(out, path), bytes);
    }
    await openBundle(out);
  });

  it('detects truncated, grown, missing and replaced files', async () => {
    for (const [path, data] of bundleFiles()) {
      const full = join(out, path);
      const { size } = statSync(full);
      for (const to of new Set([0, Math.floor(size / 2), size - 1])) {
        truncateSync(full, to);
        await expect(openBundle(out), `${path} cut to ${to}`).rejects.toThrow(coded('E701'));
        writeFileSync(full, data);
      }
      writeFileSync(full, Buffer.concat([Buffer.from(data as Uint8Array), Buffer.from('x')]));
      await expect(openBundle(out), `${path} grown`).rejects.toThrow(coded('E701'));
      rmSync(full);
      await expect(openBundle(out), `${path} missing`).rejects.toThrow(coded(path === 'manifest.json' ? 'E704' : 'E701'));
      if (path !== 'manifest.json') {
        mkdirSync(full);
        await expect(openBundle(out), `${path} a folder`).rejects.toThrow(coded('E701'));
        rmSync(full, { recursive: true });
      }
      writeFileSync(full, data);
    }
    await openBundle(out);
  });

  it('does not read devices and pipes', async () => {
    const files = new Map([['model.wasm', new Uint8Array(0)]]);
    writeFileSync(join(out, 'manifest.json'), JSON.stringify(sealManifest({ ...manifestBody(), files: fileTable(files) })));
    rmSync(join(out, 'model.wasm'));
    symlinkSync('/dev/zero', join(out, 'model.wasm'));
    await expect(openBundle(out)).rejects.toThrow(coded('E701'));
  });

  it('refuses sizes beyond any bundle without reading', async () => {
    const bytes = 2 ** 31 + 1;
    const files = { 'model.wasm': { bytes, sha256: '0'.repeat(64) } };
    writeFileSync(join(out, 'manifest.json'), JSON.stringify(sealManifest({ ...manifestBody(), files })));
    truncateSync(join(out, 'model.wasm'), bytes); // sparse
    await expect(openBundle(out)).rejects.toThrow(coded('E701'));
  });

  it.each(['', 'missing', 'manifest.json'])('says where no bundle is: %j', async (at) => {
    const empty = mkdtempSync(join(tmpdir(), 'bitloom-empty-'));
    try {
      if (at === 'manifest.json') writeFileSync(join(empty, at), '');
      await expect(openBundle(join(empty, at))).rejects.toThrow(coded('E704'));
      expect(existsSync(join(empty, 'missing'))).toBe(false);
    } finally {
      rmSync(empty, { recursive: true });
    }
  });
});

describe('fileTable', () => {
  it('lists sizes in bytes and hashes, in path order', () => {
    const table = fileTable(new Map<string, string | Uint8Array>([['b', 'é'], ['a', Uint8Array.of(1)]]));
    expect(Object.keys(table)).toEqual(['a', 'b']);
    expect(table.b).toEqual({ bytes: 2, sha256: sha256('é') });
    expect(sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});
