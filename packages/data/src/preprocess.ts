import { fail } from '@bitloom/diagnostics';
import { type Tensor, allocate, isFloat } from '@bitloom/tensor';
import { z } from 'zod';
import { type Raster, fit } from './raster.js';
import type { InputSpec } from './types.js';

const finite = z.number().refine(Number.isFinite, 'must be finite');
const nonZero = finite.refine((v) => Math.fround(v) !== 0, 'must not be zero');

export const preprocessingSchema = z.strictObject({
  scale: nonZero.optional(),
  mean: z.array(finite).min(1).readonly().optional(),
  std: z.array(nonZero).min(1).readonly().optional(),
  layout: z.enum(['nchw', 'nhwc']).optional(),
  channels: z.enum(['rgb', 'bgr', 'gray']).optional(),
  resize: z.enum(['stretch', 'shorter']).optional(),
});

/**
 * How stored values become model inputs: `(value · scale − mean[c]) / std[c]`, every step rounded to f32.
 * - `scale`: 1/255 for 8-bit images, so that mean and std are in 0…1 as torchvision gives them; 1 for npz arrays.
 * - `mean`, `std`: one number, or one per channel in the model's channel order (after `channels`).
 * - `layout`: where the model has its channels; guessed from its input shape (the dimension that is 1 or 3).
 * - `channels`: order the model wants; `rgb` for three channels, `gray` (ITU-R 601 luma) for one.
 * - `resize`: `stretch` to the model's height and width, or `shorter`: cover them keeping the aspect, then crop the centre.
 */
export interface Preprocessing {
  readonly scale?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly layout?: 'nchw' | 'nhwc';
  readonly channels?: 'rgb' | 'bgr' | 'gray';
  readonly resize?: 'stretch' | 'shorter';
}

/** @throws E102 naming the first invalid field. */
export function parsePreprocessing(value: unknown): Preprocessing {
  const result = preprocessingSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  return fail('E102', 'preprocessing is invalid', {
    node: issue.path.join('.') || undefined,
    found: issue.message,
    expected: 'scale, mean, std, layout, channels, resize',
  });
}

interface Affine {
  readonly scale: number;
  readonly mean: Float32Array;
  readonly std: Float32Array;
}

/** Constants of `channels` channels in f32. @throws E302 when mean or std has another number of entries. */
function affineOf(pre: Preprocessing, channels: number, defaultScale: number, node: string): Affine {
  const expand = (values: readonly number[] | undefined, neutral: number, name: string): Float32Array => {
    if (values === undefined || values.length === 1) return new Float32Array(channels).fill(values?.[0] ?? neutral);
    if (values.length !== channels) {
      fail('E302', `${name} does not fit the number of channels`, {
        node,
        found: `${values.length} values`,
        expected: channels === 1 ? '1 value' : `1 or ${channels} values`,
      });
    }
    return Float32Array.from(values);
  };
  return { scale: Math.fround(pre.scale ?? defaultScale), mean: expand(pre.mean, 0, 'mean'), std: expand(pre.std, 1, 'std') };
}

const apply = (a: Affine, c: number, value: number): number => Math.fround(Math.fround(Math.fround(value * a.scale) - a.mean[c]) / a.std[c]);

type Layout = 'nchw' | 'nhwc';

interface Geometry {
  readonly layout: Layout;
  readonly c: number;
  readonly h: number;
  readonly w: number;
}

/** Channels, height and width of a sample shape; undefined when the shape is not that of an image (a flat vector). */
function geometry(sample: readonly number[], layout: Layout | undefined, node: string): Geometry | undefined {
  const isChannels = (d: number): boolean => d === 1 || d === 3;
  if (sample.length === 2 && Math.min(...sample) > 1) return { layout: 'nchw', c: 1, h: sample[0], w: sample[1] };
  if (sample.length <= 2) return undefined;
  if (sample.length === 3) {
    const chosen = layout ?? (!isChannels(sample[0]) && isChannels(sample[2]) ? 'nhwc' : 'nchw');
    const [c, h, w] = chosen === 'nchw' ? sample : [sample[2], sample[0], sample[1]];
    if (isChannels(c)) return Math.min(h, w) === 1 ? undefined : { layout: chosen, c, h, w };
  }
  return fail('E302', 'the model input does not take images', {
    node,
    found: `[N, ${sample.join(', ')}]${layout ? ` read as ${layout}` : ''}`,
    expected: '1 or 3 channels, height and width, or a flat vector',
    remedy: 'give --layout nchw or nhwc, or use an npz file',
  });
}

/** Luma of ITU-R 601 in 16-bit fixed point, as Pillow's `convert('L')`; gives v for (v, v, v). */
function toGray(r: Raster): Raster {
  if (r.channels === 1) return r;
  const data = new Uint8Array(r.width * r.height);
  for (let i = 0; i < data.length; i++) data[i] = (19595 * r.data[3 * i] + 38470 * r.data[3 * i + 1] + 7471 * r.data[3 * i + 2] + 0x8000) >> 16;
  return { ...r, channels: 1, data };
}

/**
 * Function from 8-bit pixels to the tensor of `input` (without batch dimension): resizing to the model's height and
 * width, channel conversion and order, layout, scaling. Flat inputs ([N, 784]) take images of exactly that many values,
 * channels first unless `layout` is `nhwc`. The only place where pixels become model inputs.
 * @throws E302 when the input cannot take images or `mean`/`std` do not fit its channels.
 */
export function imageMapping(input: InputSpec, pre: Preprocessing): (raster: Raster, name: string) => Tensor {
  const node = input.name;
  const shape = input.shape.slice(1);
  if (!isFloat(input.dtype) && input.dtype !== 'u8') fail('E302', 'images need a float or u8 model input', { node, found: input.dtype });
  if (input.dtype === 'u8' && (pre.scale ?? pre.mean ?? pre.std) !== undefined) {
    fail('E302', 'scale, mean and std need a float model input', { node, found: 'u8', remedy: 'leave them out: the model takes raw pixels' });
  }
  const image = geometry(shape, pre.layout, node);

  /** Value of each of the 256 pixel values, by channel. */
  const tables = (channels: number): Float32Array[] => {
    if (channels === 1 && (pre.channels ?? 'gray') !== 'gray') {
      fail('E302', 'the model input has one channel', { node, found: `channels ${pre.channels}`, expected: 'gray' });
    }
    const raw = input.dtype === 'u8';
    const affine = affineOf(pre, channels, 1 / 255, node);
    return Array.from({ length: channels }, (_, c) => Float32Array.from({ length: 256 }, (_, v) => (raw ? v : apply(affine, c, v))));
  };
  const known = new Map(image ? [[image.c, tables(image.c)]] : []);
  const channelFirst = (image?.layout ?? pre.layout ?? 'nchw') === 'nchw';

  return (raster, name) => {
    const fitted = image ? fit(raster, image.w, image.h, pre.resize ?? 'stretch', name) : raster;
    const plane = fitted.width * fitted.height;
    const out = allocate(input.dtype, shape);
    const c = out.data.length / plane;
    if (c !== 1 && c !== 3) {
      fail('E302', 'the image does not fill the model input', {
        node: name,
        found: `${raster.width}×${raster.height} pixels`,
        expected: `${out.data.length} values for ${node} [N, ${shape.join(', ')}], in 1 or 3 channels`,
      });
    }
    if (!known.has(c)) known.set(c, tables(c));
    const pixels = c === 1 || pre.channels === 'gray' ? toGray(fitted) : fitted;
    const stride = channelFirst ? 1 : c;
    for (let k = 0; k < c; k++) {
      const table = known.get(c)![k];
      const data = out.data as Float32Array;
      let from = pixels.channels === 1 ? 0 : pre.channels === 'bgr' ? 2 - k : k;
      let to = channelFirst ? k * plane : k;
      for (let i = 0; i < plane; i++, from += pixels.channels, to += stride) data[to] = table[pixels.data[from]];
    }
    return out;
  };
}

/**
 * Function from one sample of an array, of the right shape, to the tensor of `input`: type conversion, then scaling of floats. Nothing is
 * transposed; with more than one entry in `mean` or `std` the channels are found by `layout` or guessed from the shape.
 * @throws E302 for conversions that lose information (float to integer, integers out of range) and for a mean or std
 *   that does not fit.
 */
export function arrayMapping(input: InputSpec, pre: Preprocessing): (sample: Tensor) => Tensor {
  const node = input.name;
  const shape = input.shape.slice(1);
  const trivial = pre.scale === undefined && pre.mean === undefined && pre.std === undefined;
  if (!trivial && !isFloat(input.dtype)) fail('E302', 'scale, mean and std need a float model input', { node, found: input.dtype });

  let channels = 1;
  let inner = 1;
  if ((pre.mean?.length ?? 1) > 1 || (pre.std?.length ?? 1) > 1) {
    const image = geometry(shape, pre.layout, node);
    if (image) channels = image.c;
    if (image?.layout === 'nchw') inner = image.h * image.w;
  }
  const affine = affineOf(pre, channels, 1, node);

  return (sample) => {
    const converted = convert(sample, input);
    if (trivial) return converted;
    const out = allocate(input.dtype, shape);
    const data = out.data as Float32Array;
    for (let i = 0; i < data.length; i++) data[i] = apply(affine, Math.floor(i / inner) % channels, converted.data[i] as number);
    return out;
  };
}

function convert(sample: Tensor, input: InputSpec): Tensor {
  if (sample.dtype === input.dtype) return sample;
  if (isFloat(sample.dtype) && !isFloat(input.dtype)) {
    fail('E302', 'array type does not match the model input', {
      node: input.name,
      found: sample.dtype,
      expected: input.dtype,
      remedy: 'save integers',
    });
  }
  const out = allocate(input.dtype, sample.shape);
  const big = out.data instanceof BigInt64Array || out.data instanceof BigUint64Array;
  for (let i = 0; i < sample.data.length; i++) {
    const value = sample.data[i];
    (out.data as Float32Array)[i] = (big ? BigInt(value) : Number(value)) as number;
    const kept = isFloat(input.dtype) || (BigInt(out.data[i]) === BigInt(value) && (input.dtype !== 'bool' || out.data[i] <= 1));
    if (!kept) fail('E302', `a value does not fit ${input.dtype}`, { node: input.name, found: `${value} (${sample.dtype})` });
  }
  return out;
}
