import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter, OnnxNode } from '../node.js';

const { add, mul, scale, shift, sub } = compose;

/** A neighbour along one axis: its coordinate (whole, in f32, perhaps outside) and its weight (null: 1). */
interface Tap {
  readonly at: ValueId;
  readonly weight: ValueId | null;
}

/** Mirrors a coordinate at the edges: the pixel centres (`corners`) or the pixel borders. */
function reflect(n: OnnxNode, u: ValueId, size: number, corners: boolean): ValueId {
  const [low, span] = corners ? [0, size - 1] : [-0.5, size];
  if (span === 0) return scale(n.b, u, 0);
  const m = n.op('mod', [n.op('abs', [shift(n.b, u, -low)]), n.like(u, 2 * span)], { fmod: true });
  const folded = n.op('min', [m, sub(n.b, n.like(u, 2 * span), m)]);
  return n.op('clip', [shift(n.b, folded, low)], { min: 0, max: size - 1 });
}

/** Weights of the four neighbours by cubic convolution (Keys) with coefficient −0.75, at distances 1 + f, f, 1 − f, 2 − f. */
function cubicWeights(n: OnnxNode, f: ValueId): ValueId[] {
  const a = -0.75;
  const horner = (x: ValueId, ...k: readonly number[]): ValueId =>
    k.slice(1).reduce((acc: ValueId | null, c) => shift(n.b, acc === null ? scale(n.b, x, k[0]) : mul(n.b, acc, x), c), null)!;
  const near = (x: ValueId): ValueId => horner(x, a + 2, -(a + 3), 0, 1);
  const far = (x: ValueId): ValueId => horner(x, a, -5 * a, 8 * a, -4 * a);
  const rest = sub(n.b, n.like(f, 1), f);
  return [far(shift(n.b, f, 1)), near(f), near(rest), far(shift(n.b, rest, 1))];
}

/** x [N, C, spatial…] at the points of grid [N, out…, axes], whose coordinates lie in [−1, 1], the last spatial axis first. */
export const GridSample: OnnxImporter = (n) => {
  const { b } = n;
  const [batch, channels, ...spatial] = n.shape(0);
  const out = n.shape(1).slice(1, -1);
  const rank = spatial.length;
  const points = out.reduce((p, d) => p * d, 1);
  if (n.shape(1)[0] !== batch || n.shape(1)[rank + 1] !== rank) n.mismatch(`grid [${n.shape(1).join(', ')}]`, `[${batch}, …, ${rank}]`);
  const mode = { bilinear: 'linear', bicubic: 'cubic' }[n.attrs.string('mode', 'linear')] ?? n.attrs.string('mode', 'linear');
  const padding = n.attrs.string('padding_mode', 'zeros');
  const corners = n.attrs.bool('align_corners', false);
  const known = ['linear', 'nearest', 'cubic'].includes(mode) && ['zeros', 'border', 'reflection'].includes(padding);
  if (!known || (mode === 'cubic' && rank !== 2)) n.unsupported(`mode ${mode}, padding ${padding}, ${rank} axes`);

  const flat = n.reshape(n.x(1), [batch, points, rank]);
  const inside = (u: ValueId, size: number): ValueId =>
    padding === 'border' ? n.op('clip', [u], { min: 0, max: size - 1 }) : padding === 'reflection' ? reflect(n, u, size, corners) : u;
  const taps = spatial.map((size, axis): Tap[] => {
    const g = compose.sliceAxis(b, flat, 2, rank - 1 - axis, 1);
    const u = corners ? scale(b, shift(b, g, 1), (size - 1) / 2) : shift(b, scale(b, shift(b, g, 1), size / 2), -0.5);
    // Interpolated coordinates are padded before their neighbours are taken; a cubic kernel pads each neighbour.
    const at = mode === 'cubic' ? u : inside(u, size);
    if (mode === 'nearest') return [{ at: n.op('round', [at]), weight: null }];
    const whole = n.op('floor', [at]);
    const f = sub(b, at, whole);
    if (mode === 'linear') return [{ at: whole, weight: sub(b, n.like(f, 1), f) }, { at: shift(b, whole, 1), weight: f }];
    return cubicWeights(n, f).map((weight, i) => ({ at: inside(shift(b, whole, i - 1), size), weight }));
  });

  const source = n.reshape(n.transpose(n.x(0), [0, ...spatial.map((_, i) => i + 2), 1]), [batch, spatial.reduce((p, d) => p * d, 1), channels]);
  let sum: ValueId | null = null;
  const combine = (axis: number, index: ValueId | null, weight: ValueId | null): void => {
    if (axis === rank) {
      const picked = n.op('gather_nd', [source, index!], { batchDims: 1 });
      const term = weight === null ? picked : mul(b, picked, n.cast(weight, n.dtype(0)));
      sum = sum === null ? term : add(b, sum, term);
      return;
    }
    for (const tap of taps[axis]) {
      const clamped = n.op('clip', [tap.at], { min: 0, max: spatial[axis] - 1 });
      const place = n.cast(clamped, 'i64');
      const valid = n.cast(n.op('equal', [clamped, tap.at]), b.typeOf(tap.at).dtype);
      const factors = [weight, tap.weight, padding === 'zeros' ? valid : null].filter((w) => w !== null);
      const next = index === null ? place : add(b, scale(b, index, spatial[axis]), place);
      combine(axis + 1, next, factors.length === 0 ? null : factors.reduce((p, w) => mul(b, p, w)));
    }
  };
  combine(0, null, null);
  const y = n.transpose(sum ?? n.unsupported('no taps'), [0, 2, 1]);
  return n.reshape(y, [batch, channels, ...out]);
};
