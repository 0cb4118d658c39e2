/** Procedural images of shapes: every sample is a function of the state of a seeded generator. */
import { type Rng, type Tensor, tensor } from '@bitloom/tensor';

/** Image edge in pixels. */
export const SIZE = 32;
export const CHANNELS = 3;

/** Side of the grid of point samples in a pixel, for anti-aliasing. */
const SUPERSAMPLES = 4;

/** Whether a point belongs to a shape that fits the unit disc, y upwards. */
type Inside = (x: number, y: number) => boolean;
type Point = readonly [x: number, y: number];

/** Even-odd rule: the number of edges to the right of the point is odd. */
const polygon = (vertices: readonly Point[]): Inside => (x, y) => {
  let inside = false;
  for (let i = 0, j = vertices.length - 1; i < vertices.length; j = i++) {
    const [xi, yi] = vertices[i];
    const [xj, yj] = vertices[j];
    if (yi > y !== yj > y && x < xi + ((xj - xi) * (y - yi)) / (yj - yi)) inside = !inside;
  }
  return inside;
};

/** `n` vertices on circles whose radii alternate. */
const radial = (n: number, radii: readonly number[]): Inside =>
  polygon(Array.from({ length: n }, (_, i) => {
    const [angle, r] = [(2 * Math.PI * i) / n, radii[i % radii.length]];
    return [r * Math.sin(angle), r * Math.cos(angle)];
  }));

const SHAPES: Readonly<Record<string, Inside>> = {
  circle: (x, y) => x * x + y * y <= 1,
  ring: (x, y) => Math.abs(x * x + y * y - 0.65) <= 0.35,
  crescent: (x, y) => x * x + y * y <= 1 && (x - 0.5) ** 2 + y * y > 0.6,
  triangle: radial(3, [1]),
  square: radial(4, [1]),
  pentagon: radial(5, [1]),
  star: radial(10, [1, 0.45]),
  cross: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.95 && Math.min(Math.abs(x), Math.abs(y)) <= 0.3,
  heart: (x, y) => {
    const [u, v] = [1.2 * x, 1.2 * y];
    return (u * u + v * v - 1) ** 3 <= u * u * v ** 3;
  },
  arrow: polygon([[0, 1], [0.75, 0.1], [0.28, 0.1], [0.28, -0.95], [-0.28, -0.95], [-0.28, 0.1], [-0.75, 0.1]]),
};

/** Class names by label. */
export const CLASSES: readonly string[] = Object.keys(SHAPES);
const INSIDE = Object.values(SHAPES);

/** Smallest distance of a shape's colour to the background below it, largest component, of 255. */
const CONTRAST = 50;

const between = (rng: Rng, low: number, high: number): number => low + (high - low) * rng.uniform();
const colour = (rng: Rng): number[] => Array.from({ length: CHANNELS }, () => between(rng, 0, 255));
const distance = (a: readonly number[], b: readonly number[]): number => Math.max(...a.map((v, c) => Math.abs(v - b[c])));

/**
 * One image, (3, 32, 32) row-major: the shape in one colour, rotated, stretched and placed anywhere that shows most of it, over a
 * linear gradient, with Gaussian noise over both.
 * @param label index into {@link CLASSES}
 */
export function drawShape(label: number, rng: Rng): Uint8Array {
  const radius = between(rng, 6, 13);
  const stretch = between(rng, 0.8, 1.25);
  const turn = between(rng, 0, 2 * Math.PI);
  const [cx, cy] = [between(rng, 0.8 * radius, SIZE - 0.8 * radius), between(rng, 0.8 * radius, SIZE - 0.8 * radius)];
  const [from, to] = [colour(rng), colour(rng)];
  const slope = between(rng, 0, 2 * Math.PI);
  const noise = between(rng, 0, 24);

  /** Background of a channel at a point: the gradient runs from one colour to the other across the image's diagonal. */
  const [gx, gy] = [Math.cos(slope) / (SIZE * Math.SQRT2), Math.sin(slope) / (SIZE * Math.SQRT2)];
  const background = (c: number, x: number, y: number): number => from[c] + (to[c] - from[c]) * (0.5 + (x - SIZE / 2) * gx + (y - SIZE / 2) * gy);
  const behind = from.map((_, c) => background(c, cx, cy));
  let ink = colour(rng);
  while (distance(ink, behind) < CONTRAST) ink = colour(rng);

  const inside = INSIDE[label];
  const [ux, uy] = [Math.cos(turn) / radius, Math.sin(turn) / radius];
  const step = 1 / SUPERSAMPLES;
  const coverage = (px: number, py: number): number => {
    let hits = 0;
    for (let i = 0; i < SUPERSAMPLES; i++) {
      for (let j = 0; j < SUPERSAMPLES; j++) {
        const [dx, dy] = [px + (j + 0.5) * step - cx, py + (i + 0.5) * step - cy];
        if (inside((dx * ux + dy * uy) * stretch, (dx * uy - dy * ux) / stretch)) hits++;
      }
    }
    return hits * step * step;
  };

  const pixels = new Uint8Array(CHANNELS * SIZE * SIZE);
  const reach = 1.3 * radius;
  for (let y = 0; y < SIZE; y++) {
    for (let x = 0; x < SIZE; x++) {
      const near = Math.abs(x + 0.5 - cx) <= reach + 1 && Math.abs(y + 0.5 - cy) <= reach + 1;
      const alpha = near ? coverage(x, y) : 0;
      for (let c = 0; c < CHANNELS; c++) {
        const v = background(c, x + 0.5, y + 0.5);
        pixels[(c * SIZE + y) * SIZE + x] = Math.max(0, Math.min(255, Math.round(v + (ink[c] - v) * alpha + noise * rng.normal())));
      }
    }
  }
  return pixels;
}

/** Samples as the network takes them: `image` f32 (N, 3, 32, 32) in [−1, 1], `labels` i32 (N). */
export interface Samples {
  readonly image: Tensor;
  readonly labels: Tensor;
}

/** `count` images, the classes in turn. */
export function drawSamples(count: number, rng: Rng): Samples {
  const plane = CHANNELS * SIZE * SIZE;
  const image = new Float32Array(count * plane);
  const labels = Int32Array.from({ length: count }, (_, i) => i % CLASSES.length);
  labels.forEach((label, i) => drawShape(label, rng).forEach((v, k) => { image[i * plane + k] = v / 127.5 - 1; }));
  return { image: tensor('f32', [count, CHANNELS, SIZE, SIZE], image), labels: tensor('i32', [count], labels) };
}
