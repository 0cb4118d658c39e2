import { compose } from '@bitloom/ops';
/** Diagonals of repeated letters: ii → i through a gather on the flattened pair. */
function diagonal(n, t) {
    const second = t.letters.findIndex((l, i) => t.letters.indexOf(l) < i);
    if (second < 0)
        return t;
    const first = t.letters.indexOf(t.letters[second]);
    const shape = n.b.shapeOf(t.x);
    const size = shape[first];
    if (shape[second] !== size)
        n.mismatch(`${size} and ${shape[second]} for ${t.letters[second]}`, 'equal sizes');
    const rest = shape.map((_, i) => i).filter((i) => i !== first && i !== second);
    const moved = n.reshape(n.transpose(t.x, [first, second, ...rest]), [size * size, ...rest.map((i) => shape[i])]);
    const picked = n.op('gather', [moved, compose.indexConst(n.b, Array.from({ length: size }, (_, i) => i * (size + 1)))], { axis: 0 });
    return diagonal(n, { x: picked, letters: [t.letters[first], ...rest.map((i) => t.letters[i])] });
}
/** Sums the letters that are not in `keep`. */
function sumOut(n, t, keep) {
    const axes = t.letters.flatMap((l, i) => (keep.has(l) ? [] : [i]));
    return { x: compose.reduceSum(n.b, t.x, axes, false), letters: t.letters.filter((l) => keep.has(l)) };
}
/** Product of two terms, summed over the letters that nothing else needs, as one batched matmul. */
function contract(n, a, b, keep) {
    const left = sumOut(n, a, new Set([...keep, ...b.letters]));
    const right = sumOut(n, b, new Set([...keep, ...a.letters]));
    const shared = left.letters.filter((l) => right.letters.includes(l));
    const batch = shared.filter((l) => keep.has(l));
    const inner = shared.filter((l) => !keep.has(l));
    const rows = left.letters.filter((l) => !shared.includes(l));
    const cols = right.letters.filter((l) => !shared.includes(l));
    const size = new Map();
    for (const t of [left, right])
        t.letters.forEach((l, i) => size.set(l, Math.max(size.get(l) ?? 1, n.b.shapeOf(t.x)[i])));
    const sizes = (ls) => ls.map((l) => size.get(l));
    const product = (ls) => sizes(ls).reduce((p, d) => p * d, 1);
    const arrange = (t, order, shape) => {
        const moved = n.transpose(t.x, order.map((l) => t.letters.indexOf(l)));
        return n.reshape(compose.broadcastTo(n.b, moved, sizes(order)), shape);
    };
    const y = n.op('matmul', [
        arrange(left, [...batch, ...rows, ...inner], [product(batch), product(rows), product(inner)]),
        arrange(right, [...batch, ...inner, ...cols], [product(batch), product(inner), product(cols)]),
    ]);
    const letters = [...batch, ...rows, ...cols];
    return { x: n.reshape(y, sizes(letters)), letters };
}
/** Index notation: operands are contracted from the left, each pair as a batched matmul. */
export const Einsum = (n) => {
    const equation = n.attrs.string('equation', '').replace(/\s/g, '');
    const [lhs, rhs] = equation.split('->');
    const inputs = lhs.split(',');
    if (inputs.length !== n.inputCount || !/^[A-Za-z.,]*(->[A-Za-z.]*)?$/.test(equation))
        n.mismatch(`equation ${equation}`, `${n.inputCount} operands`);
    // The ellipsis stands for digits, numbered from the right as in broadcasting.
    const expand = (text, rank) => {
        const [head, tail] = text.split('...');
        if (tail === undefined)
            return [...text];
        const count = rank - head.length - tail.length;
        return [...head, ...Array.from({ length: count }, (_, i) => String(count - 1 - i)), ...tail];
    };
    const terms = inputs.map((text, i) => {
        const letters = expand(text, n.rank(i));
        if (letters.length !== n.rank(i))
            n.mismatch(`operand ${i} of rank ${n.rank(i)}`, `${text} in ${equation}`);
        return diagonal(n, { x: n.x(i), letters });
    });
    const all = terms.flatMap((t) => t.letters);
    const ellipsis = [...new Set(all.filter((l) => /\d/.test(l)))].sort((p, q) => Number(q) - Number(p));
    const out = rhs === undefined
        ? [...ellipsis, ...[...new Set(all)].filter((l) => /[A-Za-z]/.test(l) && inputs.join('').split(l).length === 2).sort()]
        : expand(rhs, rhs.replace('...', '').length + ellipsis.length);
    let [acc] = terms;
    for (let i = 1; i < terms.length; i++)
        acc = contract(n, acc, terms[i], new Set([...out, ...terms.slice(i + 1).flatMap((t) => t.letters)]));
    const last = sumOut(n, acc, new Set(out));
    return n.transpose(last.x, out.map((l) => last.letters.indexOf(l)));
};
//# sourceMappingURL=Einsum.js.map