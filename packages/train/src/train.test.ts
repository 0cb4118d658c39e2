import { createHash } from 'node:crypto';
import { type ValueId } from '@bitloom/ir';
import { compose, createBuilder, evaluateGraph } from '@bitloom/ops';
import { Rng, type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { type Network, type Optimizer, Trainer, augment, decodeCheckpoint, encodeCheckpoint, losses, optimizers, schedules } from './index.js';

const [BATCH, INS, HIDDEN, CLASSES] = [6, 5, 4, 3];
const rng = new Rng(4);
const normal = (...shape: number[]): Tensor => tensorOf('f32', shape, Float32Array.from({ length: shape.reduce((p, d) => p * d, 1) }, () => rng.normal()));

/** x → linear → tanh → linear → cross-entropy; the first layer's weights decay and learn at half the rate. */
function network(): { net: Network; x: ValueId; t: ValueId } {
  const b = createBuilder('tiny');
  const x = b.input('x', { dtype: 'f32', shape: [BATCH, INS] });
  const t = b.input('t', { dtype: 'f32', shape: [BATCH, CLASSES] });
  const seeds = new Rng(8);
  const initial = (...shape: number[]): Tensor => tensorOf('f32', shape, Float32Array.from({ length: shape.reduce((p, d) => p * d, 1) }, () => 0.5 * seeds.normal()));
  const parameters = ([['w0', [HIDDEN, INS], 0.5, 0.01], ['b0', [HIDDEN], 1, 0], ['w1', [CLASSES, HIDDEN], 1, 0], ['b1', [CLASSES], 1, 0]] as const)
    .map(([name, shape, rateScale, decay]) => ({ id: b.input(name, { dtype: 'f32', shape: [...shape] }), name, initial: initial(...shape), rateScale, decay }));
  const [w0, b0, w1, b1] = parameters.map((p) => p.id);
  const logits = b.add('linear', [b.add('tanh', [b.add('linear', [x, w0, b0], { activation: null })]), w1, b1], { activation: null });
  const loss = losses.crossEntropy(b, logits, t, 0.1);
  return { net: { graph: b.build([loss, logits]), loss, parameters, watched: [logits] }, x, t };
}

const samples = Array.from({ length: 12 }, () => ({ x: normal(BATCH, INS), labels: Array.from({ length: BATCH }, () => rng.int(CLASSES)) }));
const oneHot = (labels: readonly number[]): Tensor =>
  tensorOf('f32', [BATCH, CLASSES], labels.flatMap((l) => Array.from({ length: CLASSES }, (_, c) => Number(c === l))));
const rate = (step: number): number => 0.3 * schedules.cosine(step, samples.length);

async function train(optimizer: Optimizer, from = 0, state?: ReadonlyMap<string, Tensor>): Promise<{ curve: number[]; trainer: Trainer; halfway: ReadonlyMap<string, Tensor> }> {
  const { net, x, t } = network();
  const trainer = await Trainer.create(net, optimizer, { threads: 1 });
  if (state) trainer.restore(from, state);
  const curve: number[] = [];
  let halfway = trainer.training;
  for (let i = from; i < samples.length; i++) {
    if (i === samples.length / 2) halfway = trainer.training;
    curve.push((await trainer.run(new Map([[x, samples[i].x], [t, oneHot(samples[i].labels)]]), rate(i))).loss);
  }
  await trainer.close();
  return { curve, trainer, halfway };
}

/** The same network by hand, in doubles: losses of all steps. */
function byHand(update: (i: number, p: number[], g: number[], rate: number, step: number) => void): number[] {
  const { net } = network();
  const [w0, b0, w1, b1] = net.parameters.map((p) => toNumbers(p.initial).slice());
  const sum = (n: number, f: (i: number) => number): number => Array.from({ length: n }, (_, i) => f(i)).reduce((a, v) => a + v, 0);
  return samples.map(({ x, labels }, step) => {
    const g = [w0, b0, w1, b1].map((p) => p.map(() => 0));
    let loss = 0;
    for (let n = 0; n < BATCH; n++) {
      const v = toNumbers(x).slice(n * INS, (n + 1) * INS);
      const h = b0.map((bias, j) => Math.tanh(bias + sum(INS, (i) => w0[j * INS + i] * v[i])));
      const z = b1.map((bias, c) => bias + sum(HIDDEN, (j) => w1[c * HIDDEN + j] * h[j]));
      const total = Math.log(sum(CLASSES, (c) => Math.exp(z[c])));
      const target = z.map((_, c) => 0.9 * Number(c === labels[n]) + 0.1 / CLASSES);
      loss -= sum(CLASSES, (c) => target[c] * (z[c] - total)) / BATCH;
      const dz = z.map((v, c) => (Math.exp(v - total) - target[c]) / BATCH);
      dz.forEach((d, c) => {
        g[3][c] += d;
        h.forEach((a, j) => (g[2][c * HIDDEN + j] += d * a));
      });
      h.forEach((a, j) => {
        const d = (1 - a * a) * sum(CLASSES, (c) => dz[c] * w1[c * HIDDEN + j]);
        g[1][j] += d;
        v.forEach((e, i) => (g[0][j * INS + i] += d * e));
      });
    }
    [w0, b0, w1, b1].forEach((p, i) => update(i, p, g[i], (i === 0 ? 0.5 : 1) * rate(step), step + 1));
    return loss;
  });
}

const CURVES: Readonly<Record<string, readonly [Optimizer, () => Parameters<typeof byHand>[0]]>> = {
  'SGD with momentum': [optimizers.sgd(), () => {
    const v = [0, 1, 2, 3].map((): number[] => []);
    return (i, p, g, r) => p.forEach((w, k) => {
      v[i][k] = 0.9 * (v[i][k] ?? 0) + g[k] + (i === 0 ? 0.01 * w : 0);
      p[k] = w - r * v[i][k];
    });
  }],
  'SGD with Nesterov momentum': [optimizers.sgd({ momentum: 0.8, nesterov: true }), () => {
    const v = [0, 1, 2, 3].map((): number[] => []);
    return (i, p, g, r) => p.forEach((w, k) => {
      const d = g[k] + (i === 0 ? 0.01 * w : 0);
      v[i][k] = 0.8 * (v[i][k] ?? 0) + d;
      p[k] = w - r * (d + 0.8 * v[i][k]);
    });
  }],
  Adam: [optimizers.adam(), () => {
    const [m, v] = [0, 1].map(() => [0, 1, 2, 3].map((): number[] => []));
    return (i, p, g, r, t) => p.forEach((w, k) => {
      m[i][k] = 0.9 * (m[i][k] ?? 0) + 0.1 * g[k];
      v[i][k] = 0.999 * (v[i][k] ?? 0) + 0.001 * g[k] ** 2;
      p[k] = w - r * (m[i][k] / (1 - 0.9 ** t) / (Math.sqrt(v[i][k] / (1 - 0.999 ** t)) + 1e-8) + (i === 0 ? 0.01 * w : 0));
    });
  }],
};

describe('Trainer', () => {
  it.each(Object.entries(CURVES))('%s: the loss curve is the one computed by hand', async (_, [optimizer, update]) => {
    const [{ curve }, wanted] = [await train(optimizer), byHand(update())];
    wanted.forEach((w, i) => expect(Math.abs(curve[i] - w), `step ${i}`).toBeLessThan(1e-4));
    expect(Math.abs(wanted[11] - wanted[0])).toBeGreaterThan(0.05); // something was learnt
  });

  it('twice the same bits; also from a checkpoint halfway', async () => {
    const [a, b] = [await train(optimizers.adam()), await train(optimizers.adam())];
    expect(b.curve).toEqual(a.curve);
    expect(encodeCheckpoint({ meta: 1, tensors: b.trainer.training })).toEqual(encodeCheckpoint({ meta: 1, tensors: a.trainer.training }));
    const { tensors } = decodeCheckpoint(encodeCheckpoint({ meta: null, tensors: a.halfway }), 'c');
    const c = await train(optimizers.adam(), samples.length / 2, tensors);
    expect(c.curve).toEqual(a.curve.slice(samples.length / 2));
    expect([...c.trainer.training]).toEqual([...a.trainer.training]);
  });

  it('shows what is watched, before the update', async () => {
    const { net, x, t } = network();
    const trainer = await Trainer.create(net, optimizers.sgd());
    const feeds = new Map([[x, samples[0].x], [t, oneHot(samples[0].labels)]]);
    const { watched } = await trainer.run(feeds, 0.1);
    const wanted = evaluateGraph(net.graph, new Map([...feeds, ...net.parameters.map((p) => [p.id, p.initial] as const)])).get(net.watched[0])!;
    toNumbers(watched.get(net.watched[0])!).forEach((v, i) => expect(v).toBeCloseTo(toNumbers(wanted)[i], 5));
    expect(trainer.parameter(net.parameters[1])).not.toEqual(net.parameters[1].initial);
    await trainer.close();
  });

  it('stops where the loss is not finite (E404), and refuses states of other networks (E706)', async () => {
    const { net, x, t } = network();
    const trainer = await Trainer.create(net, optimizers.sgd());
    const coded = (code: string) => expect.objectContaining({ code });
    await expect(trainer.run(new Map([[x, tensorOf('f32', [BATCH, INS], new Array<number>(BATCH * INS).fill(NaN))], [t, oneHot(samples[0].labels)]]), 0.1)).rejects.toEqual(coded('E404'));
    expect(() => trainer.restore(1, new Map())).toThrowError(coded('E706'));
    expect(() => trainer.restore(1, new Map([...trainer.training].map(([k, v]) => [k, k === 'w1' ? normal(2, 2) : v])))).toThrowError(coded('E706'));
    await trainer.close();
  });

  it('shortens gradients that are longer than told, and leaves shorter ones', async () => {
    const moved = async (clip: number): Promise<number[]> => {
      const b = createBuilder('line');
      const p = { id: b.input('p', { dtype: 'f32', shape: [2] }), name: 'p', initial: tensorOf('f32', [2], [0, 0]), rateScale: 1, decay: 0 };
      const loss = compose.reduceSum(b, compose.mul(b, p.id, b.const(tensorOf('f32', [2], [3, -4]))), [0], false);
      const trainer = await Trainer.create({ graph: b.build([loss]), loss, parameters: [p], watched: [] }, optimizers.sgd({ momentum: 0 }), { threads: 1, clip });
      await trainer.run(new Map(), 1);
      const found = toNumbers(trainer.parameter(p));
      await trainer.close();
      return found;
    };
    expect(await moved(0)).toEqual([-3, 4]);
    expect(await moved(6)).toEqual([-3, 4]);
    (await moved(1)).forEach((v, i) => expect(v).toBeCloseTo([-0.6, 0.8][i], 6));
  });

  it('keeps parameters above their bounds', async () => {
    const b = createBuilder('bounded');
    const p = { id: b.input('p', { dtype: 'f32', shape: [2] }), name: 'p', initial: tensorOf('f32', [2], [1, 1]), rateScale: 1, decay: 0, least: tensorOf('f32', [2], [0.25, 0.25]) };
    const loss = compose.reduceSum(b, compose.mul(b, p.id, b.const(tensorOf('f32', [2], [3, 0.5]))), [0], false);
    const trainer = await Trainer.create({ graph: b.build([loss]), loss, parameters: [p], watched: [] }, optimizers.sgd(), { threads: 1 });
    await trainer.run(new Map(), 1);
    expect(toNumbers(trainer.parameter(p))).toEqual([0.25, 0.5]);
    await trainer.close();
  });
});

describe('losses', () => {
  it('distillation is the divergence between softened distributions', () => {
    const b = createBuilder('kd');
    const [z, teacher] = [normal(2, 3), normal(2, 3)];
    const loss = losses.distillation(b, b.const(z), b.const(teacher), 4);
    const soft = (v: readonly number[]): number[] => {
      const e = v.map((u) => Math.exp(u / 4));
      return e.map((u) => u / e.reduce((s, w) => s + w, 0));
    };
    const rows = [0, 1].map((n) => [teacher, z].map((t) => soft(toNumbers(t).slice(3 * n, 3 * n + 3))));
    const wanted = rows.reduce((s, [p, q]) => s + p.reduce((a, v, i) => a + v * Math.log(v / q[i]), 0), 0) * 8;
    expect(toNumbers(evaluateGraph(b.build([loss]), new Map()).get(loss)!)[0]).toBeCloseTo(wanted, 5);
  });

  it('blends', () => {
    const b = createBuilder('blend');
    const [x, y] = [2, 10].map((v) => compose.scalarConst(b, v, 'f32'));
    const mixed = [0, 0.25, 1].map((k) => losses.blend(b, x, y, k));
    const values = evaluateGraph(b.build(mixed), new Map());
    expect(mixed.map((m) => toNumbers(values.get(m)!)[0])).toEqual([2, 4, 10]);
  });
});

it('schedules', () => {
  const { constant, cosine, steps, warmUp } = schedules;
  expect([0, 5, 10].map((s) => cosine(s, 10))).toEqual([1, expect.closeTo(0.5), expect.closeTo(0)]);
  expect([0, 4, 5, 9].map((s) => steps([0.5, 0.9], 0.5)(s, 10))).toEqual([1, 1, 0.5, 0.25]);
  expect([0, 1, 2, 3, 7].map((s) => warmUp(4, constant)(s, 10))).toEqual([0.25, 0.5, 0.75, 1, 1]);
  expect(warmUp(4, cosine)(7, 10)).toBeCloseTo(0.5);
});

describe('augment', () => {
  const image = Float32Array.from({ length: 2 * 3 * 4 }, (_, i) => i + 1);
  const shape = [2, 3, 4] as const;
  const views = (pad: number, flip: boolean, fill: readonly number[] | null = null): Set<string> => {
    const r = new Rng(1);
    return new Set(Array.from({ length: 400 }, () => {
      const to = new Float32Array(image.length).fill(NaN);
      augment(image, to, shape, { pad, flip }, r, fill);
      return to.join();
    }));
  };
  /** The window at (dy, dx) of the image with zeros around, by definition. */
  const view = (dy: number, dx: number, mirror: boolean, fill: readonly number[]): string =>
    [0, 1].flatMap((c) => [0, 1, 2].flatMap((y) => [0, 1, 2, 3].map((x) => {
      const [sy, sx] = [y + dy, (mirror ? 3 - x : x) + dx];
      return sy < 0 || sy > 2 || sx < 0 || sx > 3 ? fill[c] : image[(c * 3 + sy) * 4 + sx];
    }))).join();

  it('gives every shift, mirrored or not, and nothing else', () => {
    const offsets = [-1, 0, 1];
    const all = offsets.flatMap((dy) => offsets.flatMap((dx) => [false, true].map((m) => view(dy, dx, m, [-5, -6]))));
    expect(views(1, true, [-5, -6])).toEqual(new Set(all));
    expect(views(0, false)).toEqual(new Set([view(0, 0, false, [0, 0])]));
  });
});

describe('checkpoints', () => {
  const tensors = new Map([['w', normal(3, 2)], ['empty', tensorOf('f32', [0], [])], ['n', tensorOf('i64', [2], [5n, -(2n ** 40n)])]]);
  const data = encodeCheckpoint({ meta: { epoch: 3, rng: [1, 2] }, tensors });
  it('come back as they were', () => {
    expect(decodeCheckpoint(data, 'c')).toEqual({ meta: { epoch: 3, rng: [1, 2] }, tensors });
  });
  it.each([['no JSON', '{'], ['no list', '{"tensors":1}'], ['a negative size', '{"tensors":[{"name":"w","dtype":"f32","shape":[-1]}]}'],
    ['an unknown type', '{"tensors":[{"name":"w","dtype":"constructor","shape":[]}]}'], ['a huge tensor', '{"tensors":[{"name":"w","dtype":"f32","shape":[1e9,1e9,1e9]}]}']])('refuses a header with %s, whatever its hash (E706)', (_, text) => {
    const file = Buffer.concat([Buffer.from('BITLOOM CHECKPOINT 1\n'), Buffer.from(Uint32Array.of(text.length).buffer), Buffer.from(text)]);
    expect(() => decodeCheckpoint(Buffer.concat([file, createHash('sha256').update(file).digest()]), 'c')).toThrowError(expect.objectContaining({ code: 'E706' }));
  });
  it('any changed, missing or further byte is noticed (E706)', () => {
    const refused = expect.objectContaining({ code: 'E706' });
    for (let i = 0; i < data.length; i++) {
      const bad = data.slice();
      bad[i] ^= 1;
      expect(() => decodeCheckpoint(bad, 'c')).toThrowError(refused);
      expect(() => decodeCheckpoint(data.slice(0, i), 'c')).toThrowError(refused);
    }
    expect(() => decodeCheckpoint(Uint8Array.from([...data, 0]), 'c')).toThrowError(refused);
  });
});
