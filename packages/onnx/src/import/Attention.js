import { compose } from '@bitloom/ops';
const { add, mul, scale } = compose;
/** [batch, sequence, heads·size] → [batch, heads, sequence, size] */
export function splitHeads(n, x, heads) {
    const [batch, length, width] = n.b.shapeOf(x);
    return n.transpose(n.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}
/** Each key/value head for `times` query heads. */
function repeatHeads(n, x, times) {
    const [batch, heads, length, size] = n.b.shapeOf(x);
    if (times === 1)
        return x;
    const wide = compose.broadcastTo(n.b, n.reshape(x, [batch, heads, 1, length, size]), [batch, heads, times, length, size]);
    return n.reshape(wide, [batch, heads * times, length, size]);
}
/**
 * softmax(softcap(Q·Kᵀ·scale) + bias)·V. The bias joins the mask, causality (query i sees keys up to i + offset, where the offset
 * is the length of the past, or valid keys − queries) and the padding of `nonpad_kv_seqlen`; rows without any key give 0.
 */
export const Attention = (n) => {
    const { b } = n;
    const flat = n.rank(0) === 3;
    const queryHeads = flat ? n.attrs.int('q_num_heads', 1) : n.shape(0)[1];
    const heads = flat ? n.attrs.int('kv_num_heads', 1) : n.shape(1)[1];
    const [q, newK, newV] = [0, 1, 2].map((i) => (flat ? splitHeads(n, n.x(i), i === 0 ? queryHeads : heads) : n.x(i)));
    const pastK = n.optional(4);
    const pastV = n.optional(5);
    const past = pastK === null ? 0 : b.shapeOf(pastK)[2];
    const k = pastK === null ? newK : n.op('concat', [pastK, newK], { axis: 2 });
    const v = pastV === null ? newV : n.op('concat', [pastV, newV], { axis: 2 });
    const [batch, , queries, size] = b.shapeOf(q);
    const keys = b.shapeOf(k)[2];
    if (queryHeads % heads !== 0)
        n.mismatch(`${queryHeads} query heads`, `a multiple of ${heads}`);
    const root = Math.sqrt(n.attrs.float('scale', 1 / Math.sqrt(size)));
    const scores = n.op('matmul', [scale(b, q, root), scale(b, n.transpose(repeatHeads(n, k, queryHeads / heads), [0, 1, 3, 2]), root)]);
    const cap = n.attrs.float('softcap', 0);
    const capped = cap === 0 ? scores : scale(b, n.op('tanh', [compose.div(b, scores, n.like(scores, cap))]), cap);
    const { dtype } = b.typeOf(scores);
    const biasOf = (seen) => n.op('select', [seen, n.like(scores, 0), n.like(scores, -Infinity)]);
    const biases = [];
    const mask = n.optional(3);
    if (mask !== null) {
        const bias = b.typeOf(mask).dtype === 'bool' ? biasOf(mask) : n.cast(mask, dtype);
        const shape = b.shapeOf(bias);
        const width = shape[shape.length - 1];
        const none = shape.map(() => 0);
        biases.push(width === keys ? bias : compose.padWith(b, bias, none, [...none.slice(1), keys - width], -Infinity));
    }
    const valid = n.optional(6);
    const column = n.positions(keys, 3, 4);
    const lengths = valid === null ? null : n.reshape(n.cast(valid, 'i64'), [batch, 1, 1, 1]);
    if (n.attrs.bool('is_causal', false)) {
        const row = n.positions(queries, 2, 4);
        const offset = lengths === null ? n.like(row, past) : compose.shift(b, lengths, -queries);
        biases.push(biasOf(n.op('less_equal', [column, add(b, row, offset)])));
    }
    if (lengths !== null)
        biases.push(biasOf(n.op('less', [column, lengths])));
    const bias = biases.length > 0 ? biases.reduce((p, x) => add(b, p, x)) : null;
    const masked = bias === null ? capped : add(b, capped, bias);
    let weights = n.op('softmax', [masked], { axis: 3 });
    if (bias !== null) {
        const top = n.op('reduce_max', [bias], { axes: [b.shapeOf(bias).length - 1], keepdims: true });
        weights = n.op('select', [n.op('equal', [top, n.like(top, -Infinity)]), n.like(weights, 0), weights]);
    }
    const y = n.op('matmul', [weights, repeatHeads(n, v, queryHeads / heads)]);
    const merged = flat ? n.reshape(n.transpose(y, [0, 2, 1, 3]), [batch, queries, queryHeads * b.shapeOf(y)[3]]) : y;
    return [merged, k, v, [scores, capped, masked, weights][n.attrs.int('qk_matmul_output_mode', 0)] ?? n.unsupported('qk_matmul_output_mode')];
};
/** The first `rotary_embedding_dim` elements of each head, as pairs, turned by the angles of the caches. */
export const RotaryEmbedding = (n) => {
    const { b } = n;
    const flat = n.rank(0) === 3;
    // [batch, heads, sequence, size]
    const x = flat ? splitHeads(n, n.x(0), n.attrs.int('num_heads', 0) || n.unsupported('num_heads is missing')) : n.x(0);
    const [batch, , length, size] = b.shapeOf(x);
    const turned = n.attrs.int('rotary_embedding_dim', 0) || size;
    const half = turned / 2;
    const angles = (i) => {
        const rows = n.optional(3) === null ? n.x(i) : n.op('gather', [n.x(i), n.x(3)], { axis: 0 });
        return n.reshape(compose.sliceAxis(b, rows, 2, 0, half), [batch, 1, length, half]);
    };
    const [cos, sin] = [angles(1), angles(2)];
    const rotate = compose.sliceAxis(b, x, 3, 0, turned);
    const interleaved = n.attrs.bool('interleaved', false);
    const [first, second] = [0, 1].map((i) => (interleaved ? compose.sliceAxis(b, rotate, 3, i, half, 2) : compose.sliceAxis(b, rotate, 3, i * half, half)));
    const real = compose.sub(b, mul(b, cos, first), mul(b, sin, second));
    const imaginary = add(b, mul(b, sin, first), mul(b, cos, second));
    const pair = (v) => n.reshape(v, [...b.shapeOf(v), 1]);
    const done = interleaved
        ? n.reshape(n.op('concat', [pair(real), pair(imaginary)], { axis: 4 }), b.shapeOf(rotate))
        : n.op('concat', [real, imaginary], { axis: 3 });
    const y = turned === size ? done : n.op('concat', [done, compose.sliceAxis(b, x, 3, turned, size - turned)], { axis: 3 });
    return flat ? n.reshape(n.transpose(y, [0, 2, 1, 3]), n.shape(0)) : y;
};
//# sourceMappingURL=Attention.js.map