import { generatedCount } from '../data-types.js';
/** The identity; the mask, where asked for, is all true. Training mode with a ratio above 0 is random, so not supported. */
export const Dropout = (n) => {
    const training = n.opset >= 12 && n.number(2, 'training_mode', 0) !== 0;
    const ratio = n.opset >= 12 && training ? n.number(1, 'ratio', 0.5) : 0;
    if (ratio !== 0)
        n.unsupported('training mode');
    if (!n.wants(1))
        return n.x(0);
    return [n.x(0), n.b.const({ dtype: 'bool', shape: n.shape(0), data: new Uint8Array(generatedCount(n.shape(0), n.name)).fill(1) })];
};
//# sourceMappingURL=Dropout.js.map