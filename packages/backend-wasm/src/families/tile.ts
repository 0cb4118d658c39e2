/** What tile templates and rows of the table of families have in common. */
import { alignUp } from '@bitloom/codegen';
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { range } from '../render.js';

export interface Cell {
  readonly name: string;
  /** Vector of weights. */
  readonly slot: number;
  readonly pixel: number;
}

/** Names of `width` vectors × `pixels` accumulators. */
export function tileGrid(width: number, pixels: number) {
  const columns = range(pixels).map((pixel) => ({ pixel, cells: range(width).map((slot): Cell => ({ name: `${slot}_${pixel}`, slot, pixel })) }));
  return {
    pixelCount: pixels,
    pixels: range(pixels),
    morePixels: range(pixels).slice(1),
    slots: range(width),
    columns,
    cells: columns.flatMap((c) => c.cells),
  };
}

export type Loop<V> = V & { readonly counted: boolean; readonly atLeast: number; readonly groupShift: number; readonly flushGroups: number };

/**
 * Loops over the steps of a segment that flush narrow accumulators every `flushSteps` steps at the latest: an inner loop where that
 * is many, else steps written out, and a loop of single steps for the rest. `body` gives the view of so many steps written out.
 * @param group steps of one turn of the inner loop
 */
export function loops<V extends object>(flushSteps: number, group: 1 | 2, body: (steps: number) => V): Loop<V>[] {
  const loop = (counted: boolean, steps: number): Loop<V> =>
    ({ ...body(steps), counted, atLeast: steps, groupShift: group - 1, flushGroups: Math.floor(flushSteps / group) });
  if (flushSteps > 16) return group === 1 ? [loop(true, 1)] : [loop(true, group), loop(false, 1)];
  const unrolled = [8, 4, 2].filter((n) => n <= flushSteps);
  return [...unrolled.slice(0, unrolled[0] === 8 ? 2 : 1), 1].map((n) => loop(false, n));
}

export const channelsOfGroup = (p: ConvParams): number => p.outC / p.groups;

/** Estimated ns of a call: tiles of so many channels at `rate` products a ns, `convert` ns a converted activation, requantisation. */
export function tileCost(p: ConvParams, channels: number, rate: number, convert: number): number {
  const pixels = p.batch * p.outH * p.outW;
  return (pixels * p.groups * alignUp(channelsOfGroup(p), channels) * convK(p)) / rate + convert * p.batch * p.inH * p.inW * p.inC + 0.3 * pixels * p.outC;
}
