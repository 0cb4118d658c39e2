/** Reverses the first `lens[b]` steps of each sequence: a gather over the flattened time and batch axes. */
export const ReverseSequence = (n) => {
    const lens = n.list(1, 'sequence_lens');
    const timeFirst = n.axis(n.attrs.int('time_axis', 0), n.rank(0)) === 0;
    const [first, second, ...rest] = n.shape(0);
    const index = n.generate('i64', [first * second], (i) => {
        const [p, q] = [Math.floor(i / second), i % second];
        const [t, b] = timeFirst ? [p, q] : [q, p];
        const from = t < lens[b] ? lens[b] - 1 - t : t;
        return timeFirst ? from * second + b : b * second + from;
    });
    const flat = n.reshape(n.x(0), [first * second, ...rest]);
    return n.reshape(n.op('gather', [flat, index], { axis: 0 }), n.shape(0));
};
//# sourceMappingURL=ReverseSequence.js.map