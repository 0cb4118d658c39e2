/** Gathers and scatters: one core op each. */
import type { ValueId } from '@bitloom/ir';
import type { OnnxImporter, OnnxNode } from '../node.js';

const axisOf = (n: OnnxNode): number => n.axis(n.attrs.int('axis', 0), n.rank(0));
const scatterElements: OnnxImporter = (n): ValueId => n.op('scatter_elements', n.all(), { axis: axisOf(n), reduction: n.attrs.string('reduction', 'none') });

export const gathers: Readonly<Record<string, OnnxImporter>> = {
  Gather: (n) => n.op('gather', [n.x(0), n.x(1)], { axis: axisOf(n) }),
  GatherElements: (n) => n.op('gather_elements', [n.x(0), n.x(1)], { axis: axisOf(n) }),
  GatherND: (n) => n.op('gather_nd', [n.x(0), n.x(1)], { batchDims: n.attrs.int('batch_dims', 0) }),
  ScatterElements: scatterElements,
  Scatter: scatterElements,
  ScatterND: (n) => n.op('scatter_nd', n.all(), { reduction: n.attrs.string('reduction', 'none') }),
};
