import { sameShape } from '@bitloom/tensor';
/** The branch of a constant condition, in place. Otherwise both, and a choice between outputs of equal types. */
export const If = (n) => {
    const branch = (taken) => {
        const name = taken ? 'then_branch' : 'else_branch';
        return n.around.inline(n.attrs.graph(name) ?? n.unsupported(`${name} is missing`), name);
    };
    const known = n.b.constantOf(n.x(0));
    if (known)
        return branch(Number(known.data[0]) !== 0);
    const yes = branch(true);
    const no = branch(false);
    return yes.map((x, i) => {
        const [a, b] = [n.b.typeOf(x), n.b.typeOf(no[i])];
        if (a.dtype !== b.dtype || !sameShape(a.shape, b.shape))
            n.unsupported('branches of different shapes under a condition that is not constant');
        return n.op('select', [n.reshape(n.x(0), []), x, no[i]]);
    });
};
//# sourceMappingURL=If.js.map