const axisOf = (n) => n.axis(n.attrs.int('axis', 0), n.rank(0));
const scatterElements = (n) => n.op('scatter_elements', n.all(), { axis: axisOf(n), reduction: n.attrs.string('reduction', 'none') });
export const gathers = {
    Gather: (n) => n.op('gather', [n.x(0), n.x(1)], { axis: axisOf(n) }),
    GatherElements: (n) => n.op('gather_elements', [n.x(0), n.x(1)], { axis: axisOf(n) }),
    GatherND: (n) => n.op('gather_nd', [n.x(0), n.x(1)], { batchDims: n.attrs.int('batch_dims', 0) }),
    ScatterElements: scatterElements,
    Scatter: scatterElements,
    ScatterND: (n) => n.op('scatter_nd', n.all(), { reduction: n.attrs.string('reduction', 'none') }),
};
//# sourceMappingURL=gather.js.map