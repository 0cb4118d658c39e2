/** Attributes and geometry shared by the convolutions and their gradients. */
import type { ConvGeometry } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { anyNumber } from './attrs.js';
import { type Window, extents, paddings } from './window.js';

export const convShape = { strides: extents, dilations: extents, pads: paddings, group: z.number().int().positive() };

/** Bounds of a fused Relu or Clip, ±Infinity where there is none. */
export const activation = z.strictObject({ min: anyNumber, max: anyNumber }).nullish();
export type Activation = z.infer<typeof activation>;

export interface ConvShape {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  readonly group: number;
}

/** The window of a convolution with these weights, (…, …, kernel…). */
export const convWindow = (a: ConvShape, weight: readonly number[]): Window => ({ ...a, kernel: weight.slice(2) });

/** Geometry of a 1-D or 2-D convolution of x (N, C, spatial…) into y (N, O, spatial…); 1-D has height 1. */
export function convGeometry(a: ConvShape, x: readonly number[], weight: readonly number[], y: readonly number[]): ConvGeometry {
  const flat = x.length === 3;
  const pair = (v: readonly number[], fill: number): readonly number[] => (flat ? [fill, v[0]] : v);
  const [inH, inW] = pair(x.slice(2), 1);
  const [outH, outW] = pair(y.slice(2), 1);
  const [kH, kW] = pair(weight.slice(2), 1);
  const [strideH, strideW] = pair(a.strides, 1);
  const [dilH, dilW] = pair(a.dilations, 1);
  const [padT, padL] = pair(a.pads, 0);
  return { batch: x[0], inH, inW, inC: x[1], outH, outW, outC: y[1], kH, kW, strideH, strideW, padT, padL, dilH, dilW, groups: a.group };
}
