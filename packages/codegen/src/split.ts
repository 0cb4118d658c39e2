/** Parts of a convolution that threads compute: each is a convolution of its own over the same weights. */
import { type ConvParams, convMacs, isPointwise } from '@bitloom/kernel-spec';

export interface ConvPart {
  readonly params: ConvParams;
  /** Elements of the input and of the output before the part's. */
  readonly xOffset: number;
  readonly yOffset: number;
}

/** MACs that a part should have at least: some microseconds, several times what it takes threads to meet. */
const PART_MACS = 100_000;

/**
 * At most `count` parts, nearly equal, in order: by images, else by output rows (`padT` counts from the part's first row and may be
 * negative), else by pixels where rows do not matter. Every output is computed as it would be in the whole.
 */
export function splitConv(p: ConvParams, count: number): readonly [ConvPart, ...ConvPart[]] {
  const image = { x: p.inH * p.inW * p.inC, y: p.outH * p.outW * p.outC };
  const flat = isPointwise(p) && p.groups === 1;
  const most = Math.max(1, Math.min(count, Math.floor(convMacs(p) / PART_MACS)));
  const [units, part] = ((): [number, (first: number, n: number) => ConvPart] => {
    if (p.batch > 1) return [p.batch, (i, n) => ({ params: { ...p, batch: n }, xOffset: i * image.x, yOffset: i * image.y })];
    if (flat) {
      return [p.outH * p.outW, (i, n) => ({ params: { ...p, inH: 1, outH: 1, inW: n, outW: n }, xOffset: i * p.inC, yOffset: i * p.outC })];
    }
    return [p.outH, (i, n) => ({ params: { ...p, outH: n, padT: p.padT - i * p.strideH }, xOffset: 0, yOffset: i * p.outW * p.outC })];
  })();
  const parts = Math.min(most, units);
  if (parts <= 1) return [{ params: p, xOffset: 0, yOffset: 0 }];
  const at = (i: number): number => Math.floor((i * units) / parts);
  return Array.from({ length: parts }, (_, i) => part(at(i), at(i + 1) - at(i))) as [ConvPart, ...ConvPart[]];
}
