/** Clamps that a layer applies as it stores its output. */
import { type Graph, type Rule, rewrite } from '@bitloom/ir';
import { type ConvAttrs, opTable } from '@bitloom/ops';
import { boundsOf } from './clamps.js';
import { attrsOf } from './util.js';

/** clip(conv(x), a, b) = conv(x, activation [a, b]) */
export const fuseActivationRule: Rule = {
  name: 'fuse-activation',
  equation: 'clip(conv(x), a, b) = conv(x, activation [a, b]); so for relu, and for linear',
  ops: ['relu', 'clip'],
  apply(ctx, n) {
    const [y] = n.inputs;
    const layer = ctx.producerOf(y);
    if (!layer || (layer.op !== 'conv' && layer.op !== 'linear') || !ctx.usedOnce(y)) return null;
    // A layer output that is quantised itself rounds before the clamp.
    if (attrsOf<ConvAttrs>(layer).activation || ctx.valueOf(y).precision.state !== 'float') return null;
    const { min, max } = boundsOf(n)!;
    return ctx.add(layer.op, layer.inputs, { ...(layer.attrs as object), activation: { min, max } }, { origin: layer.origin });
  },
};

/**
 * Relu and clip of a conv or linear output that nothing else reads become the layer's `activation`. The output keeps the id, name and
 * precision of the activation's value; the node keeps the layer's origin.
 */
export const fuseActivation = (g: Graph): Graph => rewrite(g, [fuseActivationRule], opTable).graph;
