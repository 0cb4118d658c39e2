/** Weights as bits, for the kernels that multiply bit by bit. */
import type { WasmFunction } from '../family.js';
import { range, rendered } from '../render.js';

/**
 * One-bit weights, 4 or 8 elements (a step) a byte, in vectors of 16 channels: channels c and c + 8 side by side, so that the even and
 * the odd bytes of sums hold eight channels in order each.
 */
export function placePlanes(bits: number, channels: number, elements: 4 | 8): WasmFunction {
  return rendered('place_planes', `place_planes_w${bits}_${channels}_${elements}`, {
    bits,
    elements,
    halfBytes: 16 * bits,
    stepBytes: bits * channels,
    ones: 2 ** elements - 1,
    planes: range(bits).map((i) => ({ offset: 16 * i, left: 7 - i })),
  });
}
