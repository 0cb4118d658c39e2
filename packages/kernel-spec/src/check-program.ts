/** Well-formedness of lowered programs: what backends, bundles and the reference rely on. */
import { type Code, fail } from '@bitloom/diagnostics';
import { isBits } from '@bitloom/numerics';
import { DTYPES, type DType, MAX_ELEMENTS, elementCount } from '@bitloom/tensor';
import { checkNest } from './check-nest.js';
import { type ConvGeometry, type ConvParams, convK } from './conv.js';
import type { NestOperand } from './nest.js';
import type { BufferDef, Program } from './program.js';

const MAX_RANK = 32;
const POSITIVE: readonly (keyof ConvGeometry)[] = ['inC', 'outC', 'kH', 'kW', 'strideH', 'strideW', 'dilH', 'dilW', 'groups'];
const NON_NEGATIVE: readonly (keyof ConvGeometry)[] = ['batch', 'inH', 'inW', 'outH', 'outW', 'padT', 'padL'];

/** Operands of a convolution, args then result. @throws `code` when the parameters contradict each other */
function convOperands(p: ConvParams, code: Code): NestOperand[] {
  const bad = (message: string, found?: unknown): never => fail(code, `convolution: ${message}`, { found: String(found) });
  for (const [keys, least] of [[POSITIVE, 1], [NON_NEGATIVE, 0]] as const) {
    for (const key of keys) if (!Number.isInteger(p[key]) || p[key] < least || p[key] > 2 ** 28) bad(`${key} is out of range`, p[key]);
  }
  if (p.inC % p.groups !== 0 || p.outC % p.groups !== 0) bad('groups do not divide the channels', p.groups);
  if (p.kind !== 'int' && p.kind !== 'f32') bad('unknown kind', p.kind);
  if (p.output !== 'codes' && p.output !== 'f32') bad('unknown output', p.output);
  if (!(p.lo <= p.hi)) bad('empty range', `${p.lo} … ${p.hi}`);
  const size = (...dims: readonly number[]): number => {
    const n = dims.reduce((a, b) => a * b, 1);
    return n <= MAX_ELEMENTS ? n : bad('too large', dims.join('×'));
  };
  const x = { dtype: 'f32' as DType, elements: size(p.batch, p.inH, p.inW, p.inC) };
  const w = { dtype: 'f32' as DType, elements: size(p.outC, convK(p)) };
  const perChannel = { dtype: 'f32' as DType, elements: p.outC };
  const y = size(p.batch, p.outH, p.outW, p.outC);
  if (p.kind === 'f32') {
    if (p.weightBits !== null || p.activationBits !== null || p.xZero !== 0 || p.output !== 'f32')
      bad('float convolution with integer parameters');
    return [x, w, perChannel, { dtype: 'f32', elements: y }];
  }
  for (const bits of [p.weightBits, p.activationBits]) if (bits === null || !isBits(bits)) bad('bit-width out of range', bits);
  if (!Number.isInteger(p.xZero) || p.xZero < 0 || p.xZero > 255) bad('zero point out of range', p.xZero);
  const codes = p.output === 'codes';
  if (codes) for (const v of [p.lo, p.hi]) if (!Number.isInteger(v) || v < 0 || v > 255) bad('bound of codes out of range', v);
  return [{ ...x, dtype: 'u8' }, { ...w, dtype: 'i8' }, perChannel, perChannel, { dtype: codes ? 'u8' : 'f32', elements: y }];
}

function checkBuffer(b: BufferDef, code: Code): void {
  const bad = (message: string, found?: string, expected?: string): never => fail(code, `buffer ${b.name}: ${message}`, { found, expected });
  if (!Object.hasOwn(DTYPES, b.dtype)) bad('unknown data type', String(b.dtype));
  const rank = b.shape.length;
  if (rank > MAX_RANK || b.strides.length !== rank) bad('shape and strides do not fit', `${rank} and ${b.strides.length} dimensions`);
  if (elementCount(b.shape) !== b.elements) bad('elements do not fit the shape', String(b.elements), `product of [${b.shape.join(', ')}]`);
  if (b.data && (b.data.length !== b.elements || !(b.data instanceof DTYPES[b.dtype].array)))
    bad('data does not fit the type', `${b.data.length} elements of ${b.data.constructor.name}`);
  if (!b.strides.every((s) => Number.isSafeInteger(s) && s >= 0)) bad('a stride is not a non-negative integer', b.strides.join(', '));
  if (b.elements > 0) {
    let dense = 1;
    const dims = b.shape.map((n, i) => ({ n, stride: b.strides[i] })).filter((d) => d.n > 1);
    for (const d of dims.sort((p, q) => p.stride - q.stride)) {
      if (d.stride !== dense) bad('not dense', `strides [${b.strides.join(', ')}]`);
      dense *= d.n;
    }
  }
  if (b.quant) {
    const { scheme, scale, zeroPoint } = b.quant;
    if (b.dtype !== 'u8' || scheme.signed || scheme.axis !== null || !isBits(scheme.bits)) bad('codes are u8 with one unsigned scheme');
    if (scale.length !== 1 || zeroPoint.length !== 1) bad('codes have one scale');
    if (!(scale[0] > 0) || scale[0] === Infinity) bad('scale is not positive', String(scale[0]));
    if (!(zeroPoint[0] >= 0 && zeroPoint[0] <= 2 ** scheme.bits - 1)) bad('zero point out of range', String(zeroPoint[0]));
  }
}

/**
 * Checks that buffers are consistent, that calls fit the buffers they name, write no constant or input, and read only what was
 * written before, and that nests are well-formed ({@link checkNest}).
 * @throws `code` with what is wrong
 */
export function checkProgram(p: Program, code: Code = 'E901'): void {
  for (const b of p.buffers) checkBuffer(b, code);
  const known = p.buffers.map((b) => b.data !== null);
  const isBuffer = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < p.buffers.length;
  const fixed = new Set(p.buffers.flatMap((b, id) => (b.data ? [id] : [])));
  const ports = (list: Program['inputs'], what: string): void => {
    if (new Set(list.map((q) => q.name)).size !== list.length) fail(code, `two ${what}s of one name`);
    for (const q of list) if (!isBuffer(q.buffer)) fail(code, `${what} ${q.name}: unknown buffer`, { found: String(q.buffer) });
  };
  ports(p.inputs, 'input');
  ports(p.outputs, 'output');
  for (const q of p.inputs) {
    if (fixed.has(q.buffer)) fail(code, `input ${q.name}: its buffer is constant or another input's`);
    fixed.add(q.buffer);
    known[q.buffer] = true;
  }
  const nests = new Set<unknown>();
  p.calls.forEach((c, i) => {
    const bad = (message: string, found?: string, expected?: string): never =>
      fail(code, `call ${i}: ${message}`, { node: c.origin, found, expected });
    if (c.family !== 'nest' && c.family !== 'conv') bad('unknown kernel family', String((c as { family: unknown }).family));
    const operands = c.family === 'nest' ? c.params.operands : convOperands(c.params, code);
    const ids = [...c.args, ...c.results];
    if (c.results.length === 0 || ids.length !== operands.length || (c.family === 'conv' && c.results.length !== 1))
      bad('wrong number of operands', String(ids.length), String(operands.length));
    ids.forEach((id, j) => {
      if (!isBuffer(id)) bad('unknown buffer', String(id));
      const [found, wanted] = [operands[j], p.buffers[id]].map((o) => `${o.elements} × ${o.dtype}`);
      if (found !== wanted) bad(`operand ${j} does not fit its buffer`, found, wanted);
    });
    for (const id of c.args) if (!known[id]) bad('reads a buffer before it is written', p.buffers[id].name);
    const args = new Set(c.args);
    for (const id of c.results) {
      if (fixed.has(id) || args.has(id)) bad('writes a constant, an input or one of its arguments', p.buffers[id].name);
      known[id] = true;
    }
    if (c.family === 'nest' && !nests.has(c.params)) {
      nests.add(c.params);
      checkNest(c.params, code);
    }
  });
  for (const q of p.outputs) if (!known[q.buffer]) fail(code, `output ${q.name} is never written`);
}
