/** Per-channel scales and shifts after a layer become part of its weights: batch normalisation, biases, output scaling. */
import type { Node, Rule, RuleContext, ValueId } from '@bitloom/ir';
import type { ConvAttrs, ConvTransposeAttrs } from '@bitloom/ops';
import { type Tensor, getAt, isFloat, sameShape } from '@bitloom/tensor';
import { WEIGHTED, attrsOf, channelVector, rounded } from './util.js';

/** y = scale·x + shift per channel of the value `x`. */
interface Affine {
  readonly x: ValueId;
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

interface Layer {
  readonly node: Node;
  /** Channel axis of the output, and their number. */
  readonly axis: number;
  readonly channels: number;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  /** Output channel that a weight element (linear index) belongs to. */
  readonly channelOf: (i: number) => number;
}

const STEPS = ['mul', 'div', 'add', 'sub', 'neg'];

function layerOf(ctx: RuleContext, node: Node): Layer | null {
  const [, w, b] = node.inputs;
  const weight = ctx.constantOf(w);
  const bias = b === undefined ? null : ctx.constantOf(b);
  if (!weight || (b !== undefined && !bias) || attrsOf<ConvAttrs>(node).activation) return null;
  const shape = ctx.shapeOf(node.outputs[0]);
  const axis = node.op === 'linear' ? shape.length - 1 : 1;
  const channels = shape[axis];
  const inner = (from: number): number => weight.shape.slice(from).reduce((p, d) => p * d, 1);
  if (node.op !== 'conv_transpose') return { node, axis, channels, weight, bias, channelOf: (i) => Math.floor(i / inner(1)) };
  // Weights (C, O/group, …): input channel c feeds the outputs of its group.
  const [ins, perGroup] = weight.shape;
  const insPerGroup = ins / attrsOf<ConvTransposeAttrs>(node).group;
  const [row, column] = [inner(1), inner(2)];
  const channelOf = (i: number): number => Math.floor(Math.floor(i / row) / insPerGroup) * perGroup + (Math.floor(i / column) % perGroup);
  return { node, axis, channels, weight, bias, channelOf };
}

/** A node as a per-channel affine function of one operand, the other being constant. */
function stepOf(ctx: RuleContext, n: Node, axis: number, channels: number): Affine | null {
  const shape = ctx.shapeOf(n.outputs[0]);
  const same = (v: number): Float64Array => new Float64Array(channels).fill(v);
  const fits = (x: ValueId): boolean => sameShape(ctx.shapeOf(x), shape);
  if (n.op === 'neg') return { x: n.inputs[0], scale: same(-1), shift: same(0) };
  for (const at of n.op === 'div' ? [1] : [0, 1]) {
    const x = n.inputs[1 - at];
    const c = fits(x) ? channelVector(ctx.constantOf(n.inputs[at]), shape.length, axis, channels) : null;
    if (!c) continue;
    if (n.op === 'mul') return { x, scale: c, shift: same(0) };
    if (n.op === 'div') return { x, scale: c.map((v) => 1 / v), shift: same(0) };
    if (n.op === 'add') return { x, scale: same(1), shift: c };
    return at === 1 ? { x, scale: same(1), shift: c.map((v) => -v) } : { x, scale: same(-1), shift: c };
  }
  return null;
}

/** The layer below a chain of steps that end in `root`, and the chain as one affine function. */
function findLayer(ctx: RuleContext, root: Node): { readonly layer: Layer; readonly scale: Float64Array; readonly shift: Float64Array } | null {
  // The layer is found first: its channel axis tells how to read the constants.
  const below = (n: Node): Node | null => {
    const [x, ...more] = n.inputs.filter((i) => !ctx.constantOf(i));
    const p = x !== undefined && more.length === 0 && ctx.usedOnce(x) ? ctx.producerOf(x) : null;
    return p && (WEIGHTED.has(p.op) || STEPS.includes(p.op)) ? p : null;
  };
  const chain = [root];
  let bottom = below(root);
  for (; bottom && !WEIGHTED.has(bottom.op); bottom = below(bottom)) chain.push(bottom);
  const layer = bottom && layerOf(ctx, bottom);
  if (!layer) return null;
  const scale = new Float64Array(layer.channels).fill(1);
  const shift = new Float64Array(layer.channels);
  for (const n of chain) {
    const step = stepOf(ctx, n, layer.axis, layer.channels);
    if (!step) return null;
    for (let c = 0; c < layer.channels; c++) {
      shift[c] += scale[c] * step.shift[c];
      scale[c] *= step.scale[c];
    }
  }
  return { layer, scale, shift };
}

/**
 * a·(W·x + b) + t = (a·W)·x + (a·b + t), with a and t per output channel. Whole chains are taken at once, in f64, so that weights and
 * bias round once.
 */
const foldAffine: Rule = {
  name: 'fold-affine',
  equation: 'a·(W·x + b) + t = (a·W)·x + (a·b + t) for conv, conv_transpose and linear',
  ops: STEPS,
  apply(ctx, root) {
    const [y] = root.outputs;
    const { dtype } = ctx.typeOf(y);
    if (!isFloat(dtype)) return null;
    const found = findLayer(ctx, root);
    if (!found) return null;
    // The last step of a chain folds all of it.
    const [user] = ctx.usedOnce(y) ? ctx.usersOf(y) : [];
    const { layer: { node, axis, channels, weight, bias, channelOf }, scale, shift } = found;
    if (user && STEPS.includes(user.op) && stepOf(ctx, user, axis, channels)) return null;

    const [x, w, b] = node.inputs;
    const name = ctx.valueOf(w).name;
    const values = (): Float64Array => Float64Array.from(weight.data as Float32Array, (v, i) => v * scale[channelOf(i)]);
    const scaled = scale.every((s) => s === 1) ? weight : rounded(dtype, weight.shape, values());
    const shifted = rounded(dtype, [channels], shift.map((t, c) => t + (bias ? scale[c] * getAt(bias, c) : 0)));
    if (!scaled || !shifted) return null;
    const inputs = [x, scaled === weight ? w : ctx.const(scaled, name)];
    if (bias || (shifted.data as Float32Array).some((v) => v !== 0)) {
      inputs.push(ctx.const(shifted, b === undefined ? `${name.replace(/\.?weight$/, '')}.bias` : ctx.valueOf(b).name));
    }
    return ctx.add(node.op, inputs, node.attrs, { origin: node.origin });
  },
};

export const affineRules: readonly Rule[] = [foldAffine];
