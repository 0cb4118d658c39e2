import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { splitHeads } from './heads.js';

const { add, mul } = compose;

/** The first `rotary_embedding_dim` elements of each head, as pairs, turned by the angles of the caches. */
export const RotaryEmbedding: OnnxImporter = (n) => {
  const { b } = n;
  const flat = n.rank(0) === 3;
  // [batch, heads, sequence, size]
  const x = flat ? splitHeads(n, n.x(0), n.attrs.int('num_heads', 0) || n.unsupported('num_heads is missing')) : n.x(0);
  const [batch, , length, size] = b.shapeOf(x);
  const turned = n.attrs.int('rotary_embedding_dim', 0) || size;
  const half = turned / 2;
  const angles = (i: number): ValueId => {
    const rows = n.optional(3) === null ? n.x(i) : n.op('gather', [n.x(i), n.x(3)], { axis: 0 });
    return n.reshape(compose.sliceAxis(b, rows, 2, 0, half), [batch, 1, length, half]);
  };
  const [cos, sin] = [angles(1), angles(2)];
  const rotate = compose.sliceAxis(b, x, 3, 0, turned);
  const interleaved = n.attrs.bool('interleaved', false);
  const [first, second] = [0, 1].map((i) => (interleaved ? compose.sliceAxis(b, rotate, 3, i, half, 2) : compose.sliceAxis(b, rotate, 3, i * half, half)));
  const real = compose.sub(b, mul(b, cos, first), mul(b, sin, second));
  const imaginary = add(b, mul(b, sin, first), mul(b, cos, second));
  const pair = (v: ValueId): ValueId => n.reshape(v, [...b.shapeOf(v), 1]);
  const done = interleaved
    ? n.reshape(n.op('concat', [pair(real), pair(imaginary)], { axis: 4 }), b.shapeOf(rotate))
    : n.op('concat', [real, imaginary], { axis: 3 });
  const y = turned === size ? done : n.op('concat', [done, compose.sliceAxis(b, x, 3, turned, size - turned)], { axis: 3 });
  return flat ? n.reshape(n.transpose(y, [0, 2, 1, 3]), n.shape(0)) : y;
};
