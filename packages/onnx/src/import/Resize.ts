import type { OnnxImporter, OnnxNode } from '../node.js';

const MODES = new Set(['nearest', 'linear', 'cubic']);
const COORDINATES = new Set([
  'half_pixel', 'half_pixel_symmetric', 'pytorch_half_pixel', 'align_corners', 'asymmetric', 'tf_crop_and_resize', 'tf_half_pixel_for_nn',
]);

/** The core op, with opset 10's meaning of what is not given. */
export function emitResize(
  n: OnnxNode, sizes: readonly number[], scales: readonly number[], given: Partial<Record<string, unknown>>,
): ReturnType<OnnxImporter> {
  const mode = n.attrs.string('mode', 'nearest');
  if (!MODES.has(mode)) n.unsupported(`mode ${mode}`);
  if (sizes.every((s, i) => s === n.shape(0)[i]) && given.roi === null) return n.x(0);
  return n.op('resize', [n.x(0)], {
    sizes, scales, mode, coordinates: 'asymmetric', nearest: 'floor', cubicA: -0.75, excludeOutside: false, antialias: false, roi: null, extrapolation: 0, ...given,
  });
}

/** floor(d·scale), the product in f32 as in onnxruntime: 5 · f32(1.4) is 7. */
export const sizesFor = (n: OnnxNode, scales: readonly number[]): number[] => n.shape(0).map((d, i) => Math.floor(Math.fround(d * scales[i])));

/**
 * Opset 10 has scales only, and asymmetric coordinates; 11 adds sizes and coordinate modes; 18 adds `axes`, antialiasing and
 * `keep_aspect_ratio_policy`. Sizes by scale are floor(d·scale).
 */
export const Resize: OnnxImporter = (n) => {
  const shape = n.shape(0);
  const rank = shape.length;
  if (n.opset < 11) {
    const scales = n.list(1, 'scales');
    return emitResize(n, sizesFor(n, scales), scales, {});
  }
  const axes = (n.attrs.ints('axes', null) ?? shape.map((_, i) => i)).map((a) => n.axis(a, rank));
  const spread = (values: readonly number[], absent: readonly number[]): number[] => {
    if (values.length !== axes.length) n.mismatch(`${values.length} scales or sizes`, `${axes.length}`);
    const out = [...absent];
    axes.forEach((a, i) => { out[a] = values[i]; });
    return out;
  };
  const sizesIn = n.ints(3, 'sizes');
  const scalesIn = n.ints(2, 'scales');
  const ones = shape.map(() => 1);
  let sizes: number[];
  let scales: number[];
  if (sizesIn && sizesIn.length > 0) {
    sizes = spread(sizesIn, shape);
    const policy = n.attrs.string('keep_aspect_ratio_policy', 'stretch');
    scales = sizes.map((s, i) => s / shape[i]);
    if (policy !== 'stretch') {
      const ratios = axes.map((a) => scales[a]);
      const ratio = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
      // Rounded half up.
      sizes = shape.map((d, i) => (axes.includes(i) ? Math.floor(d * ratio + 0.5) : d));
      scales = shape.map((_, i) => (axes.includes(i) ? ratio : 1));
    }
  } else if (scalesIn && scalesIn.length > 0) {
    scales = spread(scalesIn, ones);
    sizes = sizesFor(n, scales);
  } else return n.unsupported('neither scales nor sizes');
  const coordinates = n.attrs.string('coordinate_transformation_mode', 'half_pixel');
  if (!COORDINATES.has(coordinates)) n.unsupported(`coordinates ${coordinates}`);
  if (coordinates === 'tf_half_pixel_for_nn') n.unsupported(`coordinates ${coordinates}`);
  const crop = coordinates === 'tf_crop_and_resize';
  const roiIn = crop ? n.list(1, 'roi') : [];
  const roi = crop ? [...spread(roiIn.slice(0, axes.length), shape.map(() => 0)), ...spread(roiIn.slice(axes.length), ones)] : null;
  return emitResize(n, sizes, scales, {
    coordinates,
    nearest: n.attrs.string('nearest_mode', 'round_prefer_floor'),
    cubicA: n.attrs.float('cubic_coeff_a', -0.75),
    excludeOutside: n.attrs.bool('exclude_outside', false),
    antialias: n.attrs.bool('antialias', false),
    roi,
    extrapolation: n.attrs.float('extrapolation_value', 0),
  });
};
