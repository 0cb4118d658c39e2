#!/usr/bin/env node
/**
 * What the search by gradient descent (ebs) costs, by the number of candidates: time of a training step and peak memory of the process, beside a step of the float
 * network, and beside the network with a branch for every pair of candidates and a weight tensor for every bit-width, which differentiable searches otherwise
 * train. As a Markdown table:
 *
 *   node tools/ebs-cost.mjs [--batch 128] [--steps 5] [--rounds 3] [--candidates 1,3,5] [--branches 1,3,5] [--model model.onnx] [--torch python3]
 *
 * `--torch` names a Python that has PyTorch (Debian: python3-torch), and adds its float step of ResNet-20 (tools/torch-step.py).
 * The model is a classifier, by default cifar10_resnet20_jpeg of the data folder (BITLOOM_DATA, default ../shared/data); inputs are random. Every configuration runs in
 * a fresh process, in turns, so that what else the machine does meets all alike; a number is the median over the rounds of the median over the steps.
 * CPU time is that of all threads, onnxruntime's waiting included.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const data = process.env.BITLOOM_DATA || join(root, '../shared/data');
const { values: flags } = parseArgs({
  options: {
    batch: { type: 'string', default: '128' }, steps: { type: 'string', default: '5' }, rounds: { type: 'string', default: '3' }, candidates: { type: 'string', default: '1,3,5' },
    branches: { type: 'string', default: '1,3,5' }, model: { type: 'string', default: join(data, 'models/cifar10_resnet20_jpeg.onnx') }, one: { type: 'string' },
    torch: { type: 'string' },
  },
});
const [batch, steps, rounds] = [flags.batch, flags.steps, flags.rounds].map(Number);
const BITS = { 1: [3], 2: [2, 4], 3: [1, 3, 5], 4: [1, 2, 3, 4], 5: [1, 2, 3, 4, 5] };
const numbers = (list) => list.split(',').filter(Boolean).map(Number);
if ([batch, steps, rounds].some((n) => !(Number.isInteger(n) && n > 0)) || [...numbers(flags.candidates), ...numbers(flags.branches)].some((k) => !BITS[k])) {
  console.error('counts are whole numbers above 0, candidates 1 to 5');
  process.exit(2);
}
if (!existsSync(flags.model)) {
  console.log(`skipped: ${flags.model} is missing (BITLOOM_DATA names another folder)`);
  process.exit(0);
}
const median = (all) => [...all].sort((a, b) => a - b)[all.length >> 1];

if (flags.one) {
  await measure(...flags.one.split(' '));
  process.exit(0);
}
const built = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'packages/compiler'], { cwd: root, stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
const configurations = ['float 1', ...(flags.torch ? ['PyTorch'] : []), ...numbers(flags.candidates).map((k) => `ebs ${k}`), ...numbers(flags.branches).map((k) => `branches ${k}`)];
const found = new Map(configurations.map((c) => [c, []]));
for (let round = 0; round < rounds; round++) {
  for (const c of configurations) {
    process.stderr.write(`\r\x1b[Kround ${round + 1}/${rounds}: ${c}`);
    const own = [fileURLToPath(import.meta.url), '--one', c, '--batch', String(batch), '--steps', String(steps), '--model', flags.model];
    const [command, args] = c === 'PyTorch' ? [flags.torch, [join(root, 'tools/torch-step.py'), String(batch), String(steps)]] : [process.execPath, own];
    const r = spawnSync(command, args, { encoding: 'utf8' });
    // The branches of many candidates may need more memory than there is.
    if (r.status === 0) found.get(c).push(JSON.parse(r.stdout));
    else console.error(`\n${c} failed: ${r.signal ?? (r.error?.message ?? r.stderr).trim().split('\n').at(-1)}`);
  }
}
process.stderr.write('\r\x1b[K');
console.log(`Batch of ${batch}, ${steps} steps, ${rounds} rounds; candidates are those of weights, and as many of activations.\n`);
console.log('| network | candidates | weight step | CPU | strength step | CPU | peak memory |\n|---|---:|---:|---:|---:|---:|---:|');
const ms = (v) => (v === undefined || Number.isNaN(v) ? '' : `${v.toFixed(0)} ms`);
for (const [c, all] of found) {
  if (all.length === 0) continue;
  const [kind, k] = c.split(' ');
  const of = (name) => median(all.map((r) => r[name] ?? NaN));
  const name = kind === 'PyTorch' ? `PyTorch ${all[0].version}, float` : kind;
  console.log(`| ${name} | ${kind === 'float' ? '' : k ?? ''} | ${ms(of('weights'))} | ${ms(of('weightsCpu'))} | ${ms(of('strengths'))} | ${ms(of('strengthsCpu'))} | ${(of('rss') / 2 ** 20).toFixed(0)} MiB |`);
}

/** Prints a configuration's numbers: ms and bytes. */
async function measure(kind, k) {
  const dist = (path) => import(new URL(`../packages/${path}`, import.meta.url));
  const { loadModel, atBatch, inputSpecs } = await dist('compiler/dist/model.js');
  const { observe, searchProblem } = await dist('compiler/dist/search.js');
  const { searchOptionsSchema } = await dist('compiler/dist/options.js');
  const { syntheticSource } = await dist('data/dist/index.js');
  const { variablesOf } = await dist('search-ebs/dist/variables.js');
  const { mixedNetwork } = await dist('search-ebs/dist/network.js');
  const { Trainer, optimizers, classifier, outputStatistics, trainable } = await dist('train/dist/index.js');
  const { classifierLogits } = await dist('search/dist/index.js');
  const { scalar, tensor, Rng } = await dist('tensor/dist/index.js');
  const model = await loadModel(flags.model);
  const g = await atBatch(model, batch);
  const samples = syntheticSource(inputSpecs(g), batch, 1);
  const statistics = await outputStatistics(g, samples);
  const rng = new Rng(1);
  const inputs = new Map(g.inputs.map((id) => {
    const { name, type } = g.values.get(id);
    return [name, tensor('f32', type.shape, Float32Array.from({ length: type.shape.reduce((n, d) => n * d, 1) }, () => rng.normal()))];
  }));
  const logits = classifierLogits(g);
  const labels = Int32Array.from({ length: batch }, () => rng.int(g.values.get(logits).type.shape[1]));
  const plain = { smoothing: 0, distillation: 0, temperature: 1, decay: 1e-4 };
  const result = {};
  /** Median time of a step of a session that changes some parameters and is fed the others. */
  const time = async (name, graph, loss, parameters, feeds, optimizer) => {
    const trainer = await Trainer.create({ graph, loss, parameters, watched: [] }, optimizer);
    const [wall, cpu] = [[], []];
    for (let i = 0; i <= steps; i++) {
      const [started, used] = [performance.now(), process.cpuUsage()];
      await trainer.run(feeds, 1e-4);
      const { user, system } = process.cpuUsage(used);
      if (i > 0) [wall.push(performance.now() - started), cpu.push((user + system) / 1000)];
    }
    result[name] = median(wall);
    result[`${name}Cpu`] = median(cpu);
    return trainer;
  };
  const open = [];
  if (kind === 'float') {
    const t = trainable(g, { statistics, decay: plain.decay });
    const c = classifier(g, logits, t, plain);
    open.push(await time('weights', t.b.build([c.loss]), c.loss, t.parameters, c.feeds({ inputs, labels }), optimizers.sgd()));
  } else {
    const o = searchOptionsSchema.parse({ budget: 'bops=8%', strategy: 'ebs', weights: BITS[k], activations: BITS[k], samples: 64 });
    const { problem } = searchProblem(model, o, await observe(model, o, () => {}), null, () => {});
    const variables = variablesOf(problem, problem.budget);
    const n = kind === 'ebs' ? await mixedNetwork(g, problem, variables, { ...plain, lambda: 1, penalty: 'hinge' }, samples) : await branched(g, problem, variables, statistics, plain);
    const { b, classifier: c, strengths: s } = n;
    const size = [variables.size];
    const fed = new Map([...c.feeds({ inputs, labels }), [s.noise, tensor('f32', size, new Float32Array(variables.size))], [s.sharpness, scalar('f32', 1)]]);
    open.push(await time('weights', b.build([c.loss]), c.loss, n.parameters, new Map([...fed, [s.parameter.id, s.parameter.initial]]), optimizers.sgd()));
    // Without strengths there is nothing else to train.
    if (variables.size > 0) {
      open.push(await time('strengths', b.build([n.objective]), n.objective, [s.parameter], new Map([...fed, ...n.parameters.map((p) => [p.id, p.initial])]), optimizers.adam()));
    }
  }
  result.rss = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify(result));
  for (const t of open) await t.close();
}

/** A convolution for every pair of candidates and a weight tensor for every bit-width, summed by their shares before normalisation; otherwise as mixedNetwork. */
async function branched(g, p, variables, statistics, o) {
  const dist = (path) => import(new URL(`../packages/${path}`, import.meta.url));
  const { createBuilder, compose } = await dist('ops/dist/index.js');
  const { isConst, constantData, producers, typeOf, valueOf } = await dist('ir/dist/index.js');
  const { layersOf } = await dist('transforms/dist/index.js');
  const { classifier, learntSteps, losses } = await dist('train/dist/index.js');
  const { classifierLogits } = await dist('search/dist/index.js');
  const { tensor } = await dist('tensor/dist/index.js');
  const { strengthsOf, expectedShare, penalty } = await dist('search-ebs/dist/mixture.js');
  const { initialQuantizers } = await dist('search-ebs/dist/network.js');
  const { add, mul, sub, div, square, shift, reduceMean } = compose;
  const b = createBuilder('branches');
  const s = strengthsOf(b, variables);
  const quantizers = initialQuantizers(g, p, variables);
  const producer = producers(g);
  const layers = new Map(layersOf(g).map((l) => [l.node, l]));
  const group = new Map(p.groups.flatMap((a) => a.layers.length === 0 ? [] : a.values.map((v) => [v, a.id])));
  const parameters = [];
  const parameter = (name, initial) => {
    const q = { id: b.input(name, { dtype: 'f32', shape: initial.shape }), name, initial, rateScale: 1, decay: 0 };
    parameters.push(q);
    return q.id;
  };
  /** A value on each of its grids. */
  const grids = (id, x, insert) => quantizers.get(id).map((q) => {
    const one = learntSteps(new Map([[id, q]]));
    const y = insert(one, x);
    parameters.push(...[...one.steps.values()].map((e) => ({ ...e, name: `${e.name}.${q.scheme.bits}` })));
    return y;
  });
  const shareOf = (id) => (variables.of.get(id)?.bits.length > 1 ? s.scalars(variables.of.get(id)) : null);
  const values = new Map();
  const inputs = new Map(g.inputs.map((id) => [id, b.input(valueOf(g, id).name, typeOf(g, id))]));
  for (const [id, x] of inputs) values.set(id, x);
  const quantized = new Map();
  for (const n of g.nodes) {
    const l = layers.get(n);
    if (isConst(n)) values.set(n.outputs[0], b.const(n.attrs.data));
    else if (!l) b.addMany(n.op, n.inputs.map((i) => values.get(i)), n.attrs).forEach((v, i) => values.set(n.outputs[i], v));
    else {
      const id = group.get(l.input);
      if (!quantized.has(l.input)) quantized.set(l.input, grids(id, values.get(l.input), (one, x) => one.value(b, id, x)));
      const given = constantData(producer, l.weight);
      const ones = new Float32Array(given.shape[0]).fill(1);
      const ws = quantizers.get(l.weight).map((_, i) => parameter(`${l.name}.weight${i}`, given));
      const qs = quantizers.get(l.weight).map((q, i) => {
        const one = learntSteps(new Map([[l.weight, q]]));
        const y = one.weight(b, l, ws[i], ones);
        parameters.push(...[...one.steps.values()].map((e) => ({ ...e, name: `${e.name}.${i}` })));
        return y;
      });
      const [pw, pa] = [shareOf(l.weight), shareOf(id)];
      const z = qs.flatMap((w, i) => quantized.get(l.input).map((x, j) => {
        const y = b.add(n.op, [x, w], { ...n.attrs, activation: null });
        const share = pw && pa ? mul(b, pw[i], pa[j]) : pw ? pw[i] : pa ? pa[j] : null;
        return share === null ? y : mul(b, y, share);
      })).reduce((sum, y) => add(b, sum, y));
      const { mean: m0, variance: v0 } = statistics.get(l.name) ?? {};
      let y = z;
      if (m0) {
        const flat = (v) => compose.reshapeTo(b, v, [m0.length, 1, 1]);
        const vector = (name, data) => parameter(`${l.name}.${name}`, tensor('f32', [m0.length, 1, 1], data));
        const mean = flat(reduceMean(b, z, [0, 2, 3], false));
        const variance = b.add('relu', [sub(b, flat(reduceMean(b, square(b, z), [0, 2, 3], false)), square(b, mean))]);
        const factor = div(b, b.add('abs', [vector('gamma', v0.map((v) => Math.sqrt(v + 1e-5)))]), b.add('sqrt', [shift(b, variance, 1e-5)]));
        y = add(b, mul(b, z, factor), sub(b, vector('beta', m0), mul(b, mean, factor)));
      } else if (n.inputs[2]) y = add(b, z, parameter(`${l.name}.bias`, constantData(producer, n.inputs[2])));
      const a = n.attrs.activation;
      values.set(l.output, !a ? y : a.min === 0 && a.max === Infinity ? b.add('relu', [y]) : b.add('clip', [y], a));
    }
  }
  const t = { b, inputs, values, layers: [], parameters };
  const c = classifier(g, classifierLogits(g), t, o);
  const objective = add(b, losses.crossEntropy(b, c.logits, c.targets), penalty(b, 'hinge', expectedShare(b, variables, s, p.budget.limit)));
  return { b, classifier: c, strengths: s, parameters, objective };
}
