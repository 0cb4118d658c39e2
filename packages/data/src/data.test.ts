import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { BitloomError, type Diagnostic } from '@bitloom/diagnostics';
import { type DType, Rng, type Tensor, tensorOf, toNumbers, writeNpz } from '@bitloom/tensor';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { type Batch, type DataSource, type InputSpec, type Preprocessing, type Sample, batches, openData, parseDataSpec, subset, syntheticSource } from './index.js';
import { parsePreprocessing } from './preprocess.js';

const root = mkdtempSync(join(tmpdir(), 'bitloom-data-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const f = Math.fround;
const input = (shape: number[], name = 'x', dtype: DType = 'f32'): InputSpec => ({ name, dtype, shape });

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}

async function failure(action: () => Promise<unknown>): Promise<Diagnostic> {
  try {
    await action();
  } catch (error) {
    if (error instanceof BitloomError) return error.diagnostic;
    throw error;
  }
  throw new Error('no error');
}

const write = (name: string, bytes: Uint8Array | string): string => {
  const path = join(root, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, bytes);
  return path;
};
const only = (s: Sample): number[] => toNumbers([...s.inputs.values()][0]);
const first = async (source: DataSource): Promise<Sample> => (await all(source.samples([0])))[0];

describe('parseDataSpec', () => {
  it('knows the kinds and leaves other colons alone', () => {
    expect(parseDataSpec('images:a/b')).toEqual({ kind: 'images', path: 'a/b' });
    expect(parseDataSpec('npz:C:/x.npz')).toEqual({ kind: 'npz', path: 'C:/x.npz' });
    expect(parseDataSpec('C:/x.npz')).toEqual({ kind: 'auto', path: 'C:/x.npz' });
    expect(() => parseDataSpec('idx:')).toThrow(BitloomError);
  });
});

describe('npz', () => {
  const npz = (name: string, arrays: Record<string, Tensor>): string => write(name, writeNpz(new Map(Object.entries(arrays))));
  const values = tensorOf('f32', [3, 2], [1, 2, 3, 4, 5, 6]);

  it('by input name, with labels', async () => {
    const path = npz('a.npz', { x: values, extra: tensorOf('f32', [1], [0]), labels: tensorOf('i64', [3], [2, 0, 1]) });
    const source = await openData(path, [input([1, 2])]);
    expect(source).toMatchObject({ kind: 'npz', size: 3, labelled: true });
    const samples = await all(source.samples());
    expect(samples.map(only)).toEqual([[1, 2], [3, 4], [5, 6]]);
    expect(samples.map((s) => s.label)).toEqual([2, 0, 1]);
    expect(samples[0].inputs.get('x')!.shape).toEqual([2]);
    expect((await all(source.samples({ start: 1, end: 2 }))).map(only)).toEqual([[3, 4]]);
    expect((await all(source.samples([2, 0, 2]))).map(only)).toEqual([[5, 6], [1, 2], [5, 6]]);
    await expect(all(source.samples([3]))).rejects.toThrow(RangeError);
  });

  it('one array of any name for one input; several by name', async () => {
    for (const name of ['data', 'y']) expect((await openData(npz('b.npz', { [name]: values }), [input([1, 2], 'image')])).labelled).toBe(false);
    const path = npz('c.npz', { a: values, b: tensorOf('i64', [3], [7, 8, 9]) });
    const source = await openData(`npz:${path}`, [input([1, 2], 'a'), input([1], 'b', 'i32')]);
    const [, second] = await all(source.samples());
    expect(toNumbers(second.inputs.get('a')!)).toEqual([3, 4]);
    expect(second.inputs.get('b')).toEqual(tensorOf('i32', [], [8]));
    expect((await failure(() => openData(path, [input([1, 2], 'image')]))).code).toBe('E302');
  });

  it('converts types and scales in f32', async () => {
    const path = npz('d.npz', { x: tensorOf('u8', [1, 2, 1, 2], [10, 20, 30, 40]) });
    const pre = { scale: 1 / 3, mean: [0.1, 0.2], std: [0.3, 0.7] };
    expect(only(await first(await openData(path, [input([1, 2, 1, 2])])))).toEqual([10, 20, 30, 40]);
    expect(only(await first(await openData(path, [input([1, 2, 1, 2], 'x', 'u8')])))).toEqual([10, 20, 30, 40]);
    // Two channels are not an image; three are, first or last.
    expect((await failure(() => openData(path, [input([1, 2, 1, 2])], pre))).code).toBe('E302');
    const three = npz('e.npz', { x: tensorOf('f64', [1, 2, 2, 3], Array.from({ length: 12 }, (_, i) => i)) });
    const perChannel = { scale: 1 / 3, mean: [0.1, 0.2, 0.3], std: [0.3, 0.7, 0.9] };
    const expected = (c: number, v: number): number => f(f(f(v * f(1 / 3)) - f(perChannel.mean[c])) / f(perChannel.std[c]));
    expect(only(await first(await openData(three, [input([1, 2, 2, 3])], perChannel)))).toEqual(Array.from({ length: 12 }, (_, i) => expected(i % 3, i)));
    const planes = npz('f.npz', { x: tensorOf('f64', [1, 3, 2, 2], Array.from({ length: 12 }, (_, i) => i)) });
    expect(only(await first(await openData(planes, [input([1, 3, 2, 2])], perChannel)))).toEqual(Array.from({ length: 12 }, (_, i) => expected(i >> 2, i)));
  });

  it.each<[string, Record<string, Tensor>, InputSpec[], string]>([
    ['wrong shape', { x: values }, [input([1, 3])], 'E302'],
    ['no sample dimension', { x: tensorOf('f32', [2], [1, 2]) }, [input([1, 2])], 'E302'],
    ['scalar', { x: tensorOf('f32', [], [1]) }, [input([])], 'E302'],
    ['float for integer', { x: values }, [input([1, 2], 'x', 'i32')], 'E302'],
    ['out of range', { x: tensorOf('i64', [1, 1], [300]) }, [input([1, 1], 'x', 'u8')], 'E302'],
    ['different counts', { a: values, b: tensorOf('f32', [2, 2], [1, 2, 3, 4]) }, [input([1, 2], 'a'), input([1, 2], 'b')], 'E302'],
    ['label count', { x: values, labels: tensorOf('i32', [2], [0, 1]) }, [input([1, 2])], 'E302'],
    ['float labels', { x: values, labels: values }, [input([1, 2])], 'E302'],
    ['negative label', { x: values, labels: tensorOf('i32', [3], [0, -1, 0]) }, [input([1, 2])], 'E302'],
    ['empty', { x: tensorOf('f32', [0, 2], []) }, [input([1, 2])], 'E303'],
  ])('%s', async (name, arrays, inputs, code) => {
    expect((await failure(() => openData(npz(`bad ${name}.npz`, arrays), inputs))).code).toBe(code);
  });

  it('names the shape found and the one expected', async () => {
    const d = await failure(() => openData(npz('g.npz', { x: values }), [input([1, 3, 8, 8])]));
    expect(d).toMatchObject({ found: '[3, 2]', expected: '[N, 3, 8, 8]' });
  });

  it('damaged or missing files', async () => {
    expect((await failure(() => openData(join(root, 'missing.npz'), [input([1, 2])]))).code).toBe('E301');
    expect((await failure(() => openData(write('damaged.npz', 'PK'), [input([1, 2])]))).code).toBe('E301');
    expect((await failure(() => openData(write('what.txt', 'hello'), [input([1, 2])]))).code).toBe('E301');
  });
});

/** 2×2 RGB pixels of which all twelve values differ. */
const pixels = Uint8Array.from({ length: 12 }, (_, i) => i * 20);
const png = (data: Uint8Array, width: number, height: number, channels: 1 | 3 | 4 = 3): Promise<Buffer> => sharp(data, { raw: { width, height, channels } }).png().toBuffer();
/** Default scaling of 8-bit images. */
const unit = (value: number): number => f(value * f(1 / 255));

describe('images', () => {
  it('layouts, channel order, mean and std', async () => {
    write('one/a.png', await png(pixels, 2, 2));
    const dir = join(root, 'one');
    const get = async (shape: number[], pre: Preprocessing = {}, dtype: DType = 'f32'): Promise<number[]> => only(await first(await openData(dir, [input(shape, 'x', dtype)], pre)));
    const hwc = [...pixels];
    const chw = [0, 1, 2].flatMap((c) => [0, 1, 2, 3].map((i) => pixels[3 * i + c]));
    expect(await get([1, 3, 2, 2])).toEqual(chw.map(unit));
    expect(await get([1, 2, 2, 3])).toEqual(hwc.map(unit));
    expect(await get([1, 2, 2, 3], { scale: 1 })).toEqual(hwc);
    expect(await get([1, 2, 2, 3], { scale: 1, channels: 'bgr' })).toEqual([0, 3, 6, 9].flatMap((i) => [hwc[i + 2], hwc[i + 1], hwc[i]]));
    expect(await get([1, 2, 2, 3], {}, 'u8')).toEqual(hwc);
    expect(await get([1, 12], { scale: 1 })).toEqual(chw);
    expect(await get([1, 12], { scale: 1, layout: 'nhwc' })).toEqual(hwc);
    const gray = [0, 3, 6, 9].map((i) => Math.floor((19595 * hwc[i] + 38470 * hwc[i + 1] + 7471 * hwc[i + 2]) / 65536 + 0.5));
    for (const shape of [[1, 1, 2, 2], [1, 2, 2, 1], [1, 2, 2], [1, 4], [1, 1, 4]]) expect(await get(shape, { scale: 1 })).toEqual(gray);
    expect(await get([1, 3, 2, 2], { scale: 1, channels: 'gray' })).toEqual([...gray, ...gray, ...gray]);
    const pre: Preprocessing = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], channels: 'bgr' };
    const normalised = [2, 1, 0].flatMap((source, c) => [0, 1, 2, 3].map((i) => f(f(f(hwc[3 * i + source] * f(1 / 255)) - f(pre.mean![c])) / f(pre.std![c]))));
    expect(await get([1, 3, 2, 2], pre)).toEqual(normalised);
  });

  it('class folders in sorted order, whatever else lies there', async () => {
    for (const [i, name] of ['zebra/b.png', 'ant/2.png', 'ant/10.PNG', 'ant/1.jpeg.png'].entries()) write(`classes/${name}`, await png(new Uint8Array(12).fill(i), 2, 2));
    write('classes/ant/notes.txt', 'x');
    write('classes/.cache/h.png', 'not an image');
    mkdirSync(join(root, 'classes/bee'));
    const source = await openData(join(root, 'classes'), [input([1, 3, 2, 2])], { scale: 1 });
    expect(source).toMatchObject({ kind: 'images', size: 4, labelled: true, classes: ['ant', 'bee', 'zebra'] });
    const samples = await all(source.samples());
    expect(samples.map((s) => [s.label, only(s)[0]])).toEqual([[0, 3], [0, 2], [0, 1], [2, 0]]);
  });

  it('labels.csv, with and without a header', async () => {
    for (const name of ['a.png', 'b.png']) write(`csv/${name}`, await png(pixels, 2, 2));
    for (const text of ['file,class_index,name\nb.png,7,"dog"\r\na.png,3,cat\n\n', 'a.png,3\nb.png,7\n', 'label,file\n3,a.png\n7,b.png']) {
      write('csv/labels.csv', text);
      const source = await openData(join(root, 'csv'), [input([1, 3, 2, 2])]);
      expect((await all(source.samples())).map((s) => s.label)).toEqual([3, 7]);
    }
    for (const text of ['a.png,3', 'name,class\na.png,1', 'file,label\na.png,x\nb.png,1', '']) {
      write('csv/labels.csv', text);
      expect((await failure(() => openData(join(root, 'csv'), [input([1, 3, 2, 2])]))).code).toBe('E301');
    }
  });

  it('resizes to the model; gray, alpha and JPEG files are read', async () => {
    write('kinds/1.png', await png(new Uint8Array(16 * 8).fill(90), 16, 8, 1));
    write('kinds/2.png', await png(Uint8Array.from({ length: 64 }, (_, i) => (i % 4 === 3 ? 10 : 90)), 4, 4, 4));
    write('kinds/3.jpg', await sharp(new Uint8Array(300).fill(90), { raw: { width: 10, height: 10, channels: 3 } }).jpeg({ quality: 100 }).toBuffer());
    for (const resize of ['stretch', 'shorter'] as const) {
      const source = await openData(`images:${join(root, 'kinds')}`, [input([1, 3, 4, 6])], { scale: 1, resize });
      expect(source.labelled).toBe(false);
      for (const s of await all(source.samples())) expect(only(s)).toEqual(new Array(72).fill(90));
    }
  });

  it('fingerprint follows the content, not the place', async () => {
    for (const dir of ['p', 'q']) for (let i = 0; i < 3; i++) write(`${dir}/${i}.png`, await png(new Uint8Array(12).fill(i), 2, 2));
    const hash = async (dir: string): Promise<string> => (await openData(join(root, dir), [input([1, 3, 2, 2])])).fingerprint;
    const before = await hash('p');
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    expect(await hash('q')).toBe(before);
    write('q/2.png', await png(new Uint8Array(12).fill(9), 2, 2));
    const changed = await hash('q');
    expect(changed).not.toBe(before);
    write('q/labels.csv', '0.png,0\n1.png,0\n2.png,0');
    expect(await hash('q')).not.toBe(changed);
  });

  it('damaged, disguised and oversized files are refused, and only those that are read', async () => {
    const good = await png(Uint8Array.from({ length: 3072 }, (_, i) => (i * 37) & 255), 32, 32);
    const huge = Buffer.from(good);
    huge.writeUInt32BE(60000, 16);
    huge.writeUInt32BE(60000, 20);
    const jpeg = await sharp(good).jpeg().toBuffer();
    const bad: [string, Uint8Array | string][] = [
      ['cut.png', good.subarray(0, good.length / 2)],
      ['cut.jpg', jpeg.subarray(0, jpeg.length / 2)],
      ['huge.png', huge],
      ['empty.png', ''],
      ['drawing.png', '<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"/>'],
    ];
    for (const [name, bytes] of bad) {
      write(`bad-${name}/a.png`, good);
      write(`bad-${name}/${name}`, bytes);
      const source = await openData(join(root, `bad-${name}`), [input([1, 3, 32, 32])]);
      expect(source.size).toBe(2);
      expect(await failure(() => all(source.samples()))).toMatchObject({ code: 'E301', node: expect.stringContaining(name) });
      expect((await all(source.samples([0]))).length).toBe(1);
    }
  });

  it('empty, mixed and missing folders; inputs that are not images', async () => {
    mkdirSync(join(root, 'none'));
    write('mixed/a.png', await png(pixels, 2, 2));
    write('mixed/c/b.png', await png(pixels, 2, 2));
    const code = async (dir: string, inputs: InputSpec[], pre: Preprocessing = {}): Promise<string> => (await failure(() => openData(`images:${join(root, dir)}`, inputs, pre))).code;
    expect(await code('none', [input([1, 3, 2, 2])])).toBe('E303');
    expect(await code('mixed', [input([1, 3, 2, 2])])).toBe('E301');
    expect(await code('absent', [input([1, 3, 2, 2])])).toBe('E301');
    expect(await code('one', [input([1, 3, 2, 2]), input([1, 3, 2, 2], 'b')])).toBe('E302');
    expect(await code('one', [input([1, 4, 2, 2])])).toBe('E302');
    expect(await code('one', [input([1, 3, 2, 2])], { layout: 'nhwc' })).toBe('E302');
    expect(await code('one', [input([1, 5])])).toBe('E302');
    expect(await code('one', [input([1, 3, 2, 2], 'x', 'i64')])).toBe('E302');
    expect(await code('one', [input([1, 3, 2, 2])], { mean: [1, 2] })).toBe('E302');
    expect(await code('one', [input([1, 1, 2, 2])], { channels: 'rgb' })).toBe('E302');
    expect(await code('one', [input([1, 3, 2, 2])], { std: [1, 0, 1] })).toBe('E102');
  });

  it('a symbolic link to a class folder counts', async () => {
    mkdirSync(join(root, 'linked'));
    symlinkSync(join(root, 'one'), join(root, 'linked', 'k'));
    expect((await openData(join(root, 'linked'), [input([1, 3, 2, 2])])).classes).toEqual(['k']);
  });
});

const idx = (magic: number, dims: number[], data: Uint8Array): Buffer => {
  const header = Buffer.alloc(4 + 4 * dims.length);
  [magic, ...dims].forEach((v, i) => header.writeUInt32BE(v, 4 * i));
  return Buffer.concat([header, data]);
};

describe('IDX', () => {
  const data = Uint8Array.from({ length: 3 * 4 }, (_, i) => i * 10);

  it('images with labels beside them, gzipped or not, into images and vectors', async () => {
    const plain = write('idx/t-images-idx3-ubyte', idx(0x803, [3, 2, 2], data));
    write('idx/t-labels-idx1-ubyte.gz', gzipSync(idx(0x801, [3], Uint8Array.of(5, 0, 9))));
    const zipped = write('idx2/t-images-idx3-ubyte.gz', gzipSync(readFileSync(plain)));
    for (const shape of [[1, 1, 2, 2], [1, 2, 2, 1], [1, 4], [1, 2, 2]]) {
      const source = await openData(plain, [input(shape)], { scale: 1 });
      expect(source).toMatchObject({ kind: 'idx', size: 3, labelled: true });
      const samples = await all(source.samples());
      expect(samples.map(only)).toEqual([[0, 10, 20, 30], [40, 50, 60, 70], [80, 90, 100, 110]]);
      expect(samples.map((s) => s.label)).toEqual([5, 0, 9]);
    }
    const unlabelled = await openData(`idx:${zipped}`, [input([1, 3, 2, 2])]);
    expect(unlabelled).toMatchObject({ size: 3, labelled: false });
    expect(only(await first(unlabelled))).toEqual([...data.subarray(0, 4), ...data.subarray(0, 4), ...data.subarray(0, 4)].map(unit));
  });

  it.each<[string, Uint8Array, string]>([
    ['cut', idx(0x803, [3, 2, 2], data.subarray(1)), 'E301'],
    ['huge', idx(0x803, [0xffffffff, 0xffffffff, 0xffffffff], data), 'E301'],
    ['labels', idx(0x801, [12], data), 'E301'],
    ['header', Uint8Array.of(0, 0, 8, 3, 0), 'E301'],
    ['nothing', new Uint8Array(0), 'E301'],
    ['empty', idx(0x803, [0, 28, 28], new Uint8Array(0)), 'E303'],
    ['gzip', gzipSync(idx(0x803, [3, 2, 2], data)).subarray(0, 20), 'E301'],
  ])('%s', async (name, bytes, code) => {
    expect((await failure(() => openData(`idx:${write(`bad-idx/${name}`, bytes)}`, [input([1, 4])]))).code).toBe(code);
  });

  it('images that do not fill the input, and a wrong number of labels', async () => {
    const path = write('idx3/t-images-idx3-ubyte', idx(0x803, [3, 2, 2], data));
    expect((await failure(() => openData(path, [input([1, 5])]))).code).toBe('E302');
    write('idx3/t-labels-idx1-ubyte', idx(0x801, [2], Uint8Array.of(5, 0)));
    expect((await failure(() => openData(path, [input([1, 4])]))).code).toBe('E302');
  });
});

describe('CIFAR-10 binary', () => {
  const record = (label: number, seed: number): Uint8Array => {
    const rng = new Rng(seed);
    return Uint8Array.from({ length: 3073 }, (_, i) => (i === 0 ? label : rng.int(256)));
  };

  it('is planar on disk and in [N, 3, 32, 32], interleaved in [N, 32, 32, 3]', async () => {
    const records = [record(4, 1), record(9, 2)];
    const path = write('batch.bin.gz', gzipSync(Buffer.concat(records)));
    const source = await openData(path, [input([1, 3, 32, 32])], { scale: 1 });
    expect(source).toMatchObject({ kind: 'cifar10', size: 2, labelled: true });
    expect(source.classes![9]).toBe('truck');
    const samples = await all(source.samples());
    expect(samples.map((s) => s.label)).toEqual([4, 9]);
    expect(only(samples[1])).toEqual([...records[1].subarray(1)]);
    const last = only(await first(await openData(path, [input([1, 32, 32, 3])], { scale: 1 })));
    expect(last.slice(3, 6)).toEqual([records[0][2], records[0][1026], records[0][2050]]);
  });

  it('truncated, mislabelled and empty files', async () => {
    const code = async (bytes: Uint8Array): Promise<string> => (await failure(() => openData(write('bad.bin', bytes), [input([1, 3, 32, 32])]))).code;
    expect(await code(record(1, 1).subarray(1))).toBe('E301');
    expect(await code(record(10, 1))).toBe('E301');
    expect(await code(new Uint8Array(0))).toBe('E303');
  });
});

describe('batches, subset, synthetic', () => {
  const count = 10;
  const source = async (): Promise<DataSource> =>
    openData(
      write('n.npz', writeNpz(new Map([['x', tensorOf('f32', [count, 1], Array.from({ length: count }, (_, i) => i))], ['labels', tensorOf('i32', [count], Array.from({ length: count }, (_, i) => i))]]))),
      [input([1, 1])],
    );
  const seen = (bs: Batch[]): number[] => bs.flatMap((b) => toNumbers(b.inputs.get('x')!));

  it('the last batch keeps its count; labels go with their samples', async () => {
    const out = await all(batches(await source(), 4));
    expect(out.map((b) => b.count)).toEqual([4, 4, 2]);
    expect(out[2].inputs.get('x')!.shape).toEqual([2, 1]);
    expect(seen(out)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(out.flatMap((b) => [...b.labels!])).toEqual(seen(out));
  });

  it('chosen samples in the order asked for', async () => {
    const s = await source();
    const some = await all(batches(s, 2, [7, 3, 5]));
    expect(some.map((b) => seen([b]))).toEqual([[7, 3], [5]]);
    expect(some.flatMap((b) => [...b.labels!])).toEqual([7, 3, 5]);
    expect(await all(batches(s, 2, []))).toEqual([]);
    await expect(all(batches(s, 0))).rejects.toThrow(RangeError);
  });

  it('subset: without replacement, by seed, with its own fingerprint', async () => {
    const s = await source();
    const values = async (seed: number, n = 6): Promise<number[]> => (await all(subset(s, n, seed).samples())).map((x) => x.label!);
    const one = await values(1);
    expect(new Set(one).size).toBe(6);
    expect(await values(1)).toEqual(one);
    expect(await values(2)).not.toEqual(one);
    expect((await values(1, 99)).sort((x, y) => x - y)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect((await all(subset(s, 6, 1).samples({ start: 2, end: 4 }))).map((x) => x.label)).toEqual(one.slice(2, 4));
    expect(new Set([s, subset(s, 6, 1), subset(s, 6, 2), subset(s, 5, 1)].map((x) => x.fingerprint)).size).toBe(4);
  });

  it('synthetic samples are standard normal, independent of order, and labelless', async () => {
    const s = syntheticSource([input([1, 50, 20]), input([1, 4], 'ids', 'i64')], 40, 3);
    expect(s).toMatchObject({ kind: 'synthetic', size: 40, labelled: false });
    const samples = await all(s.samples());
    expect((await all(s.samples([17])))[0]).toEqual(samples[17]);
    expect([...samples[0].inputs.get('ids')!.data]).toEqual([0n, 0n, 0n, 0n]);
    const v = samples.flatMap((x) => toNumbers(x.inputs.get('x')!));
    const mean = v.reduce((a, b) => a + b, 0) / v.length;
    const variance = v.reduce((a, b) => a + (b - mean) ** 2, 0) / v.length;
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(v.length));
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / v.length));
    expect(new Set(v).size).toBeGreaterThan(0.99 * v.length);
  });

  it('a consumer that stops early leaves no failed decoding behind', async () => {
    write('stop/a.png', await png(pixels, 2, 2));
    for (let i = 0; i < 6; i++) write(`stop/b${i}.png`, 'broken');
    const s = await openData(join(root, 'stop'), [input([1, 3, 2, 2])]);
    for await (const sample of s.samples()) {
      expect(sample.inputs.size).toBe(1);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50)); // an unhandled rejection would fail the run
  });
});

describe('parsePreprocessing', () => {
  it('accepts what the flags give and refuses the rest with its name', () => {
    expect(parsePreprocessing({ scale: 2, mean: [1], channels: 'bgr' })).toEqual({ scale: 2, mean: [1], channels: 'bgr' });
    const bad: [unknown, string | undefined][] = [[{ scale: Infinity }, 'scale'], [{ scale: 0 }, 'scale'], [{ std: [1, 1e-60] }, 'std.1'], [{ mean: [] }, 'mean'], [{ layout: 'chw' }, 'layout'], [{ extra: 1 }, undefined], [3, undefined]];
    for (const [value, node] of bad) {
      try {
        parsePreprocessing(value);
        expect.unreachable();
      } catch (error) {
        expect((error as BitloomError).diagnostic).toMatchObject({ code: 'E102', node });
      }
    }
  });
});

const mnist = resolve(process.env.BITLOOM_DATA ?? resolve(import.meta.dirname, '../../../../shared/data'), 'datasets/mnist/train-images-idx3-ubyte.gz');
const missing = existsSync(mnist) ? '' : ` (skipped: ${mnist} is absent, set BITLOOM_DATA)`;

describe.skipIf(missing)(`MNIST${missing}`, () => {
  it('has the published mean 0.1307 and deviation 0.3081', async () => {
    const source = await openData(mnist, [input([1, 784])]);
    expect(source).toMatchObject({ kind: 'idx', size: 60000, labelled: true });
    let n = 0;
    let sum = 0;
    let squares = 0;
    for await (const batch of batches(source, 500)) {
      const { data } = batch.inputs.get('x')!;
      for (let i = 0; i < data.length; i++) {
        const v = data[i] as number;
        sum += v;
        squares += v * v;
      }
      n += data.length;
    }
    expect(sum / n).toBeCloseTo(0.1307, 4);
    expect(Math.sqrt(squares / n - (sum / n) ** 2)).toBeCloseTo(0.3081, 4);
  });
});
