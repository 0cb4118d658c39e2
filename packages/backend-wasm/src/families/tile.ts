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

/** So many steps between flushes are still written out. */
const UNROLLED = 4;

/**
 * Loops over the steps of a segment that flush narrow accumulators every `flushUnits` steps at the latest: an inner loop where that
 * is many, else steps written out, and a loop of single steps for the rest. `body` gives the view of so many steps written out.
 */
export function loops<V extends object>(flushUnits: number, body: (units: number) => V): (V & { counted: boolean; atLeast: number; flushUnits: number })[] {
  const loop = (counted: boolean, units: number) => ({ ...body(units), counted, atLeast: units, flushUnits });
  if (flushUnits > UNROLLED) return [loop(true, 1)];
  return flushUnits > 1 ? [loop(false, flushUnits), loop(false, 1)] : [loop(false, 1)];
}

export const channelsOfGroup = (p: ConvParams): number => p.outC / p.groups;

/** Estimated ns of a call: tiles of so many channels at `rate` products a ns, `convert` ns a converted activation, requantisation. */
export function tileCost(p: ConvParams, channels: number, rate: number, convert: number): number {
  const pixels = p.batch * p.outH * p.outW;
  return (pixels * p.groups * alignUp(channelsOfGroup(p), channels) * convK(p)) / rate + convert * p.batch * p.inH * p.inW * p.inC + 0.3 * pixels * p.outC;
}
