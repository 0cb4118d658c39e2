import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BitloomError, type Diagnostic } from '@bitloom/diagnostics';
import type { Graph } from '@bitloom/ir';
import { evaluateGraph } from '@bitloom/ops';
import { Rng, type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ModelParts, info, model, node, proto } from './fixtures.test.util.js';
import { type Imported, importOnnx, readOnnx } from './importer.js';
import type { ImportOptions } from './input-shapes.js';
import { type NodeProto, type TensorProto, onnx } from './proto.js';

const load = (p: ModelParts, options?: ImportOptions): Imported => importOnnx(model(p), options);

function refusal(action: () => unknown): Diagnostic {
  try {
    action();
  } catch (error) {
    if (error instanceof BitloomError) return error.diagnostic;
    throw error;
  }
  throw new Error('nothing was refused');
}

function run(g: Graph, inputs: Record<string, Tensor>): Record<string, Tensor> {
  const values = evaluateGraph(g, new Map(Object.entries(inputs)));
  return Object.fromEntries(g.outputs.map((o) => [g.values.get(o)!.name, values.get(o)!]));
}

const ops = (g: Graph): string[] => g.nodes.map((n) => n.op).filter((op) => op !== 'const');
const f32 = (shape: number[], values: number[]): Tensor => tensorOf('f32', shape, values);
const i64 = (values: number[]): Tensor => tensorOf('i64', [values.length], values);
const relu = (from: string, to: string): NodeProto => node('Relu', [from], [to]);

describe('container', () => {
  const good = model({ nodes: [node('MatMul', ['x', 'w'], ['y'])], initializers: [proto('w', f32([4, 3], new Array<number>(12).fill(0.5)))] });

  it('refuses every truncation, with E201 unless only trailing metadata is lost', () => {
    importOnnx(good);
    for (let n = 0; n < good.length; n++) {
      const found = refusal(() => importOnnx(good.subarray(0, n)));
      expect(found.code).toBe('E201');
    }
  });

  it('survives damage anywhere: a coded error or a graph', () => {
    const rng = new Rng(5);
    for (let trial = 0; trial < 2000; trial++) {
      const damaged = good.slice();
      for (let k = 0; k <= rng.int(3); k++) damaged[rng.int(damaged.length)] = rng.int(256);
      try {
        importOnnx(damaged);
      } catch (error) {
        expect(error).toBeInstanceOf(BitloomError);
        expect((error as BitloomError).code).toMatch(/^E2/);
      }
    }
  });

  it.each([
    ['nothing', new Uint8Array(0)],
    ['text', new TextEncoder().encode('this is not a model at all')],
    ['a PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13)],
    ['zeros', new Uint8Array(64)],
    ['a model without a graph', onnx.ModelProto.encode({ irVersion: 8, opsetImport: [{ version: 17 }] }).finish()],
    ['a model without an opset', onnx.ModelProto.encode({ irVersion: 8, graph: {} }).finish()],
  ])('refuses %s', (_, bytes) => {
    expect(refusal(() => importOnnx(bytes)).code).toBe('E201');
  });

  it('refuses a file that cannot be read', async () => {
    await expect(readOnnx(join(tmpdir(), 'no-such-model.onnx'))).rejects.toMatchObject({ code: 'E704', diagnostic: { found: 'ENOENT', remedy: expect.any(String) } });
  });

  it('refuses opsets outside the range', () => {
    expect(refusal(() => load({ nodes: [relu('x', 'y')], opset: 6 }))).toMatchObject({ code: 'E209', found: 'opset 6' });
    expect(refusal(() => load({ nodes: [relu('x', 'y')], opset: 99 })).code).toBe('E209');
  });
});

describe('graph', () => {
  it('lists unsupported nodes by name, op and reason', () => {
    const d = refusal(() => load({
      nodes: [node('Foo', ['x'], ['a'], {}, { name: 'first' }), relu('a', 'b'), node('Bar', ['b'], ['c'], {}, { domain: 'corp' }), node('Reshape', ['x', 'n'], ['d']), node('Add', ['c', 'd'], ['y'])],
      inputs: [info('x', [1, 4]), info('n', [2], 7)],
    }));
    expect(d.code).toBe('E202');
    expect(d.message).toBe('3 nodes are not supported');
    expect(d.found).toBe('first (Foo: unknown operator); Bar_2 (corp::Bar: unknown operator set); Reshape_3 (Reshape: shape is not constant)');
  });

  it('tells of an operator that is missing many times once', () => {
    const foo = (x: string, y: string): ReturnType<typeof node> => node('Foo', [x], [y], {}, { name: `foo-${y}` });
    const d = refusal(() => load({ nodes: [foo('x', 'a'), node('Bar', ['a'], ['b'], {}, { name: 'bar' }), foo('b', 'c'), foo('c', 'y')] }));
    expect(d.message).toBe('4 nodes are not supported');
    expect(d.found).toBe('foo-a and 2 more (Foo: unknown operator); bar (Bar: unknown operator)');
  });

  it('refuses cycles, undefined and duplicate values', () => {
    expect(refusal(() => load({ nodes: [node('Add', ['x', 'b'], ['a'], {}, { name: 'p' }), relu('a', 'b'), relu('b', 'y')] }))).toMatchObject({ code: 'E207', node: 'p', found: 'p, Relu_1, Relu_2' });
    expect(refusal(() => load({ nodes: [relu('nowhere', 'y')] }))).toMatchObject({ code: 'E207', found: 'nowhere' });
    expect(refusal(() => load({ nodes: [relu('x', 'y'), relu('x', 'y')] })).code).toBe('E207');
    expect(refusal(() => load({ nodes: [relu('x', 'x')] })).code).toBe('E207');
    expect(refusal(() => load({ nodes: [relu('x', 'z')] })).code).toBe('E207');
    expect(refusal(() => load({ nodes: [relu('x', 'y')], outputs: [] }))).toMatchObject({ code: 'E207', message: 'the graph has no outputs' });
  });

  it('sorts nodes that are out of order', () => {
    const { graph } = load({ nodes: [node('Neg', ['a'], ['y']), node('Abs', ['x'], ['a'])] });
    expect(ops(graph)).toEqual(['abs', 'neg']);
    expect(graph.nodes.map((n) => n.origin)).toEqual(['Abs_1', 'Neg_0']);
  });

  it('refuses shapes that do not fit', () => {
    const d = refusal(() => load({ nodes: [node('MatMul', ['x', 'w'], ['y'], {}, { name: 'fc' })], initializers: [proto('w', f32([5, 3], new Array<number>(15).fill(1)))] }));
    expect(d).toMatchObject({ code: 'E204', node: 'fc' });
  });

  it('refuses NaN weights by the name of the initializer, and keeps infinite masks', () => {
    const w = f32([4, 1], [1, 2, NaN, 4]);
    expect(refusal(() => load({ nodes: [node('MatMul', ['x', 'w'], ['y'])], initializers: [proto('w', w)] }))).toMatchObject({ code: 'E208', node: 'w', found: 'NaN at element 2' });
    const { graph } = load({ nodes: [node('Add', ['x', 'm'], ['y'])], initializers: [proto('m', f32([4], [0, 0, -Infinity, 0]))] });
    expect(toNumbers(run(graph, { x: f32([1, 4], [1, 2, 3, 4]) }).y)).toEqual([1, 2, -Infinity, 4]);
  });

  it('refuses dimensions of 2^40 before it allocates', () => {
    const huge: TensorProto = { name: 'w', dataType: 1, dims: [2 ** 40], rawData: new Uint8Array(16) };
    expect(refusal(() => load({ nodes: [node('Add', ['x', 'w'], ['y'])], initializers: [huge] }))).toMatchObject({ code: 'E206', node: 'w' });
    expect(refusal(() => load({ nodes: [relu('x', 'y')], inputs: [info('x', [2 ** 40])] })).code).toBe('E206');
    const shape = proto('s', i64([2 ** 20, 2 ** 20]));
    expect(refusal(() => load({ nodes: [node('ConstantOfShape', ['s'], ['c']), node('Add', ['x', 'c'], ['y'])], initializers: [shape] })).code).toBe('E206');
    expect(refusal(() => load({ nodes: [node('Expand', ['x', 's'], ['y'])], inputs: [info('x', [1, 1])], initializers: [shape] })).code).toBe('E206');
  });

  it('refuses tensors whose data does not fit, and element types without a place', () => {
    const short: TensorProto = { name: 'w', dataType: 1, dims: [4], rawData: new Uint8Array(15) };
    expect(refusal(() => load({ nodes: [node('Add', ['x', 'w'], ['y'])], initializers: [short] }))).toMatchObject({ code: 'E204', node: 'w' });
    expect(refusal(() => load({ nodes: [relu('x', 'y')], inputs: [info('x', [1], 8)] }))).toMatchObject({ code: 'E209', found: 'STRING' });
    expect(refusal(() => load({ nodes: [node('Add', ['x', 'w'], ['y'])], initializers: [{ name: 'w', dataType: 14, dims: [1], rawData: new Uint8Array(8) }] })).code).toBe('E209');
  });

  it('names symbolic dimensions and the flag that sets them; the leading one is the batch', () => {
    const p: ModelParts = { nodes: [relu('x', 'y')], inputs: [info('x', ['N', 3, 'H', null])] };
    const d = refusal(() => load(p));
    expect(d).toMatchObject({ code: 'E205', found: 'H, x_dim_3', remedy: '--define H=<size> --define x_dim_3=<size>' });
    const shape = (i: Imported): readonly number[] => i.graph.values.get(i.graph.outputs[0])!.type.shape;
    const define = { H: 5, x_dim_3: 6 };
    expect(shape(load(p, { define }))).toEqual([1, 3, 5, 6]);
    expect(shape(load(p, { define: { ...define, N: 2 } }))).toEqual([2, 3, 5, 6]);
    expect(shape(load(p, { define, batch: 8 }))).toEqual([8, 3, 5, 6]);
    expect(load(p, { define }).symbols).toEqual(['N', 'H', 'x_dim_3']);
  });

  it('widens a fixed batch of 1 only where every output scales', () => {
    const shape = (i: Imported): readonly number[] => i.graph.values.get(i.graph.outputs[0])!.type.shape;
    const flat = (target: number[], more: NodeProto[] = []): ModelParts => ({ nodes: [node('Reshape', ['x', 's'], ['y']), ...more], inputs: [info('x', [1, 2, 3])], initializers: [proto('s', i64(target))] });
    expect(shape(load(flat([1, 6]), { batch: 4 }))).toEqual([4, 6]);
    expect(shape(load(flat([-1, 6]), { batch: 4 }))).toEqual([4, 6]);
    expect(shape(load(flat([6]), { batch: 4 }))).toEqual([6]);
    expect(shape(load(flat([2, 3]), { batch: 4 }))).toEqual([2, 3]);
  });

  it('keeps ONNX names and folds what is constant', () => {
    const { graph, opset } = load({
      nodes: [
        node('Shape', ['x'], ['s']), node('Gather', ['s', 'zero'], ['batch']), node('Unsqueeze', ['batch', 'zeros'], ['b1']), node('Concat', ['b1', 'rest'], ['target'], { axis: 0 }),
        node('Identity', ['x'], ['same']), node('Reshape', ['same', 'target'], ['a'], {}, { name: 'conv/1' }), node('Relu', ['a'], ['y'], {}, { name: 'conv/1' }),
      ],
      inputs: [info('x', [2, 3, 4]), info('zero', [])],
      initializers: [proto('zero', tensorOf('i64', [], [0])), proto('zeros', i64([0])), proto('rest', i64([-1]))],
    });
    expect(graph.inputs).toEqual(['x']);
    expect(graph.nodes.map((n) => [n.op, n.origin, n.outputs[0]])).toEqual([['reshape', 'conv/1', 'a'], ['relu', 'conv/1_1', 'y']]);
    expect(graph.values.get('y')).toMatchObject({ name: 'y', type: { dtype: 'f32', shape: [2, 12] } });
    expect(opset).toBe(17);
  });

  it('gives every output its name, also where two are one value', () => {
    const { graph } = load({ nodes: [relu('x', 'a'), node('Identity', ['a'], ['y']), node('Identity', ['a'], ['z']), node('Identity', ['x'], ['w'])], outputs: ['y', 'z', 'w', 'a'] });
    const out = run(graph, { x: f32([1, 4], [-1, 2, -3, 4]) });
    expect(Object.entries(out).map(([name, t]) => [name, toNumbers(t)])).toEqual([['y', [0, 2, 0, 4]], ['z', [0, 2, 0, 4]], ['w', [-1, 2, -3, 4]], ['a', [0, 2, 0, 4]]]);
  });

  it('inlines functions with their attributes, and refuses recursion', () => {
    const body = [node('LeakyRelu', ['p'], ['q'], { alpha: { ref: 'slope', type: 1 } }), node('Neg', ['q'], ['r'], {}, { name: 'minus' })];
    const fn = { name: 'F', domain: 'local', input: ['p'], output: ['r'], attribute: ['slope'], node: body, opsetImport: [{ domain: '', version: 17 }] };
    const opsets = [{ domain: '', version: 17 }, { domain: 'local', version: 1 }];
    const call = node('F', ['x'], ['y'], { slope: 0.25 }, { domain: 'local', name: 'f' });
    const { graph } = load({ nodes: [call], functions: [fn], opsets });
    expect(toNumbers(run(graph, { x: f32([1, 4], [-4, 0, 1, 2]) }).y)).toEqual([1, -0, -1, -2]);
    expect(graph.nodes.at(-1)?.origin).toBe('f/minus');
    const self = { ...fn, node: [node('F', ['p'], ['r'], {}, { domain: 'local' })], opsetImport: opsets };
    expect(refusal(() => load({ nodes: [call], functions: [self], opsets })).code).toBe('E207');
  });

  it('takes the branch of a constant condition, and chooses between both otherwise', () => {
    const branch = (op: string): { g: Parameters<typeof onnx.GraphProto.encode>[0] } => ({ g: { name: op, node: [node(op, ['x'], ['out'])], output: [{ name: 'out' }] } });
    const choose = node('If', ['c'], ['y'], { then_branch: branch('Neg'), else_branch: branch('Abs') });
    const x = f32([1, 4], [-1, 2, -3, 4]);
    const fixed = load({ nodes: [choose], initializers: [proto('c', tensorOf('bool', [], [true]))] });
    expect(ops(fixed.graph)).toEqual(['neg']);
    const open = load({ nodes: [choose], inputs: [info('x', [1, 4]), info('c', [], 9)] });
    expect(toNumbers(run(open.graph, { x, c: tensorOf('bool', [], [false]) }).y)).toEqual([1, 2, 3, 4]);
    expect(toNumbers(run(open.graph, { x, c: tensorOf('bool', [], [true]) }).y)).toEqual([1, -2, 3, -4]);
  });
});

describe('external data', () => {
  let folder = '';
  const data = f32([4], [1, 2, 3, 4]);
  beforeAll(() => {
    const root = mkdtempSync(join(tmpdir(), 'onnx-'));
    folder = join(root, 'model');
    mkdirSync(folder);
    writeFileSync(join(root, 'secret.bin'), new Uint8Array(64));
    writeFileSync(join(folder, 'w.bin'), Buffer.concat([Buffer.alloc(8), Buffer.from(data.data.buffer)]));
    symlinkSync('../secret.bin', join(folder, 'link.bin'));
  });
  afterAll(() => rmSync(join(folder, '..'), { recursive: true, force: true }));

  const external = (entries: Record<string, string>): ModelParts => ({
    nodes: [node('Add', ['x', 'w'], ['y'])],
    initializers: [{ name: 'w', dataType: 1, dims: [4], dataLocation: 1, externalData: Object.entries(entries).map(([key, value]) => ({ key, value })) }],
  });

  it('is read at its offset', () => {
    const { graph } = load(external({ location: 'w.bin', offset: '8', length: '16' }), { folder });
    expect(toNumbers(run(graph, { x: f32([1, 4], [0, 0, 0, 0]) }).y)).toEqual([1, 2, 3, 4]);
  });

  it.each([
    ['climbs out', { location: '../secret.bin' }],
    ['climbs out through a link', { location: 'link.bin' }],
    ['is absolute', { location: '/etc/hostname' }],
    ['is a Windows path', { location: '..\\secret.bin' }],
    ['is the folder itself', { location: '.' }],
    ['is missing', { location: 'absent.bin' }],
    ['has no location', {}],
    ['is too short', { location: 'w.bin', offset: '12' }],
    ['starts beyond the end', { location: 'w.bin', offset: '4096' }],
    ['has a negative offset', { location: 'w.bin', offset: '-8' }],
    ['is of another length than the shape', { location: 'w.bin', length: '8' }],
  ])('is refused where it %s', (_, entries) => {
    expect(refusal(() => load(external(entries as Record<string, string>), { folder }))).toMatchObject({ code: 'E203', node: 'w' });
  });

  it('is refused for a model that has no folder', () => {
    expect(refusal(() => load(external({ location: 'w.bin' }))).code).toBe('E203');
  });
});

describe('element types', () => {
  const values = (t: Partial<TensorProto>): number[] => {
    const { graph } = load({ nodes: [node('Cast', ['w'], ['y'], { to: 1 })], inputs: [], initializers: [{ name: 'w', ...t }] });
    return toNumbers(run(graph, {}).y);
  };
  it.each<[string, Partial<TensorProto>, number[]]>([
    ['FLOAT16 raw', { dataType: 10, dims: [3], rawData: Uint8Array.of(0, 0x3c, 1, 0, 0, 0xfc) }, [1, 2 ** -24, -Infinity]],
    ['FLOAT16 typed', { dataType: 10, dims: [2], int32Data: [0x3c00, 0xc000] }, [1, -2]],
    ['BFLOAT16', { dataType: 16, dims: [2], rawData: Uint8Array.of(0x80, 0x3f, 0x20, 0xc0) }, [1, -2.5]],
    ['FLOAT8E4M3FN', { dataType: 17, dims: [3], rawData: Uint8Array.of(0x38, 0x7e, 0xff) }, [1, 448, NaN]],
    ['FLOAT8E4M3FNUZ', { dataType: 18, dims: [2], rawData: Uint8Array.of(0x40, 0x80) }, [1, NaN]],
    ['FLOAT8E5M2', { dataType: 19, dims: [2], rawData: Uint8Array.of(0x3c, 0x7c) }, [1, Infinity]],
    ['UINT4', { dataType: 21, dims: [3], rawData: Uint8Array.of(0xa1, 0x0f) }, [1, 10, 15]],
    ['INT4', { dataType: 22, dims: [3], rawData: Uint8Array.of(0xa1, 0x0f) }, [1, -6, -1]],
    ['INT4 typed', { dataType: 22, dims: [3], int32Data: [0xa1, 0x0f] }, [1, -6, -1]],
    ['FLOAT4E2M1', { dataType: 23, dims: [4], rawData: Uint8Array.of(0x21, 0xf7) }, [0.5, 1, 6, -6]],
    ['UINT2', { dataType: 25, dims: [5], rawData: Uint8Array.of(0b11100100, 0b10) }, [0, 1, 2, 3, 2]],
    ['INT2', { dataType: 26, dims: [4], rawData: Uint8Array.of(0b11100100) }, [0, 1, -2, -1]],
    ['INT64 typed', { dataType: 7, dims: [2], int64Data: [-5, 7] }, [-5, 7]],
    ['DOUBLE typed', { dataType: 11, dims: [1], doubleData: [0.25] }, [0.25]],
    ['UINT32 typed', { dataType: 12, dims: [1], uint64Data: [4294967295] }, [4294967296]],
    ['BOOL', { dataType: 9, dims: [2], rawData: Uint8Array.of(2, 0) }, [1, 0]],
  ])('%s', (_, t, expected) => {
    expect(values(t)).toEqual(expected);
  });

  it('makes sparse initializers dense', () => {
    const sparse = { values: { ...proto('s', f32([2], [5, 7])) }, indices: proto('', tensorOf('i64', [2, 2], [0, 1, 1, 2])), dims: [2, 3] };
    const graph = { node: [node('Neg', ['s'], ['y'])], output: [{ name: 'y' }], sparseInitializer: [sparse] };
    const imported = importOnnx(onnx.ModelProto.encode({ irVersion: 8, opsetImport: [{ version: 17 }], graph }).finish());
    expect(toNumbers(run(imported.graph, {}).y).map((v) => v + 0)).toEqual([0, -5, 0, 0, 0, -7]);
  });
});

describe('quantisation', () => {
  const scale = proto('s', tensorOf('f32', [], [0.5]));
  const pair = [node('QuantizeLinear', ['x', 's', 'z'], ['q']), node('DequantizeLinear', ['q', 's', 'z'], ['d']), node('Neg', ['d'], ['y'])];

  it('turns a pair on an activation into an annotation', () => {
    const { graph, annotations } = load({ nodes: [relu('x', 'r'), ...pair.map((n) => ({ ...n, input: n.input!.map((i) => (i === 'x' ? 'r' : i)) }))], initializers: [scale, proto('z', tensorOf('i8', [], [-128]))] });
    expect(ops(graph)).toEqual(['relu', 'neg']);
    expect([...annotations]).toEqual([['r', { scheme: { bits: 8, signed: false, axis: null }, scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(0) }]]);
  });

  it('re-expresses signed activations as unsigned, and keeps the rectifier that a zero point at the lower end implies', () => {
    const centred = load({ nodes: pair, initializers: [scale, proto('z', tensorOf('i8', [], [3]))] });
    expect(centred.annotations.get('x')?.zeroPoint[0]).toBe(131);
    expect(ops(centred.graph)).toEqual(['neg']);
    const low = load({ nodes: pair, initializers: [scale, proto('z', tensorOf('u8', [], [0]))] });
    expect(ops(low.graph)).toEqual(['clip', 'neg']);
    expect(toNumbers(run(low.graph, { x: f32([1, 4], [-1, 1, 2, 300]) }).y).map((v) => v + 0)).toEqual([0, -1, -2, -127.5]);
  });

  it('computes a lone QuantizeLinear exactly', () => {
    const { graph, annotations } = load({ nodes: [pair[0]], outputs: ['q'], initializers: [scale, proto('z', tensorOf('u8', [], [10]))] });
    expect(toNumbers(run(graph, { x: f32([1, 4], [0.25, 0.75, -100, 1000]) }).q)).toEqual([10, 12, 0, 255]);
    expect(annotations.size).toBe(0);
  });

  it('annotates dequantised weights, through transposition', () => {
    const w = proto('w', tensorOf('i8', [4, 2], [1, -2, 3, -4, 5, -6, 7, -8]));
    const { graph, annotations } = load({
      nodes: [node('DequantizeLinear', ['w', 'ws'], ['wf'], { axis: 1 }), node('MatMul', ['x', 'wf'], ['y'])],
      initializers: [w, proto('ws', f32([2], [0.5, 0.25]))],
    });
    const linear = graph.nodes.find((n) => n.op === 'linear')!;
    expect(annotations.get(linear.inputs[1])).toEqual({ scheme: { bits: 8, signed: true, axis: 0 }, scale: Float32Array.of(0.5, 0.25), zeroPoint: new Int32Array(2) });
    expect(toNumbers(run(graph, { x: f32([1, 4], [1, 1, 1, 1]) }).y)).toEqual([8, -5]);

    const one = load({ nodes: [node('DequantizeLinear', ['w', 'ws', 'wz'], ['wf']), node('Gemm', ['x', 'wf'], ['y'], { transB: 1 })], initializers: [
      proto('w', tensorOf('u8', [2, 4], [129, 128, 127, 130, 128, 128, 128, 0])), proto('ws', tensorOf('f32', [], [0.5])), proto('wz', tensorOf('u8', [], [128])),
    ] });
    expect([...one.annotations.values()]).toEqual([{ scheme: { bits: 8, signed: true, axis: 0 }, scale: Float32Array.of(0.5, 0.5), zeroPoint: new Int32Array(2) }]);
    expect(toNumbers(run(one.graph, { x: f32([1, 4], [1, 1, 1, 1]) }).y)).toEqual([1, -64]);
  });
});

describe('old and new forms of one operator', () => {
  const x = f32([1, 4], [-3, -1, 1, 3]);
  it.each<[string, ModelParts, number[]]>([
    ['Clip 6', { opset: 7, nodes: [node('Clip', ['x'], ['y'], { min: -1.5, max: 1.5 })] }, [-1.5, -1, 1, 1.5]],
    ['Clip 11', { opset: 13, nodes: [node('Clip', ['x', '', 'm'], ['y'])], initializers: [proto('m', f32([], [2]))] }, [-3, -1, 1, 2]],
    ['Slice 1', { opset: 9, nodes: [node('Slice', ['x'], ['y'], { starts: [1], ends: [-1], axes: [1] })] }, [-1, 1]],
    ['Slice 10', { opset: 13, nodes: [node('Slice', ['x', 's', 'e', 'a', 't'], ['y'])], initializers: [proto('s', i64([-1])), proto('e', i64([-(2 ** 40)])), proto('a', i64([-1])), proto('t', i64([-2]))] }, [3, -1]],
    ['Pad 2', { opset: 7, nodes: [node('Pad', ['x'], ['y'], { pads: [0, 1, 0, -2], value: 0.5 })] }, [0.5, -3, -1]],
    ['Pad 18', { opset: 18, nodes: [node('Pad', ['x', 'p', '', 'a'], ['y'], { mode: 'reflect' })], initializers: [proto('p', i64([1, 2])), proto('a', i64([-1]))] }, [-1, -3, -1, 1, 3, 1, -1]],
    ['Squeeze 1', { opset: 11, nodes: [node('Squeeze', ['x'], ['y'], { axes: [0] })] }, [-3, -1, 1, 3]],
    ['ReduceSum 1', { opset: 11, nodes: [node('ReduceSum', ['x'], ['y'], { axes: [1], keepdims: 0 })] }, [0]],
    ['ReduceSum 13', { opset: 13, nodes: [node('ReduceSum', ['x', 'a'], ['y'])], initializers: [proto('a', i64([-1]))] }, [0]],
    ['Split 2', { opset: 11, nodes: [node('Split', ['x'], ['a', 'y'], { axis: 1, split: [1, 3] })] }, [-1, 1, 3]],
    ['Split 18', { opset: 18, nodes: [node('Split', ['x'], ['a', 'y'], { axis: 1, num_outputs: 2 })] }, [1, 3]],
    ['Dropout 7', { opset: 7, nodes: [node('Dropout', ['x'], ['d']), node('Abs', ['d'], ['y'])] }, [3, 1, 1, 3]],
    ['Upsample 7', { opset: 7, inputs: [info('x', [1, 4])], nodes: [node('Unsqueeze', ['x'], ['u'], { axes: [0, 1] }), node('Constant', [], ['s'], { value: { t: proto('', f32([4], [1, 1, 1, 2])) } }), node('Resize', ['u', 's'], ['y'])], opsets: [{ version: 10 }] }, [-3, -3, -1, -1, 1, 1, 3, 3]],
    ['TopK 1', { opset: 9, nodes: [node('TopK', ['x'], ['y', 'i'], { k: 2 })] }, [3, 1]],
  ])('%s', (_, p, expected) => {
    const { graph } = load(p);
    expect(toNumbers(Object.values(run(graph, { x }))[0])).toEqual(expected);
  });

  it('flattens Softmax before opset 13, not after', () => {
    const z = f32([1, 2, 2], [0, 0, 0, 0]);
    const at = (opset: number): number[] => toNumbers(run(load({ opset, inputs: [info('x', [1, 2, 2])], nodes: [node('Softmax', ['x'], ['y'], { axis: 1 })] }).graph, { x: z }).y);
    expect(at(12)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(at(13)).toEqual([0.5, 0.5, 0.5, 0.5]);
  });
});
