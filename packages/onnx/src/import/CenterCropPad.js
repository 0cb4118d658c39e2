import { compose } from '@bitloom/ops';
/** Crops or pads with zeros around the middle; an odd element goes to the end. */
export const CenterCropPad = (n) => {
    const shape = n.shape(0);
    const target = n.list(1, 'shape');
    const axes = (n.attrs.ints('axes', null) ?? shape.map((_, i) => i)).map((a) => n.axis(a, shape.length));
    if (axes.length !== target.length)
        n.mismatch(`${target.length} sizes`, `${axes.length}`);
    let x = n.x(0);
    axes.forEach((axis, i) => {
        const extra = target[i] - shape[axis];
        if (extra < 0)
            x = compose.sliceAxis(n.b, x, axis, Math.floor(-extra / 2), target[i]);
        else {
            const at = (v) => shape.map((_, a) => (a === axis ? v : 0));
            x = compose.padWith(n.b, x, at(Math.floor(extra / 2)), at(extra - Math.floor(extra / 2)));
        }
    });
    return x;
};
//# sourceMappingURL=CenterCropPad.js.map