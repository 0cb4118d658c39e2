/** Random views of training images. */
import type { Rng } from '@bitloom/tensor';

export interface Augmentation {
  /** Zeros around the image, of which a window of its size is cut at random (He et al., arXiv 1512.03385, section 4.2: 4 for CIFAR). */
  readonly pad: number;
  /** Mirrors every other image, by chance, left to right. */
  readonly flip: boolean;
}

/**
 * Copies an image into `to`, moved and mirrored at random. Takes three draws of `rng` whatever it does, so that the order of images alone
 * decides what they get.
 * @param from [channels, height, width]; what comes from outside is `fill` of its channel, the value of a black or mean pixel
 */
export function augment(
  from: Float32Array, to: Float32Array, [channels, height, width]: readonly [number, number, number], a: Augmentation, rng: Rng, fill: readonly number[] | null = null,
): void {
  const shift = (): number => rng.int(2 * a.pad + 1) - a.pad;
  const [dy, dx, mirrored] = [shift(), shift(), rng.uniform() < 0.5 && a.flip];
  for (let c = 0; c < channels; c++) {
    const outside = fill?.[c] ?? 0;
    for (let y = 0; y < height; y++) {
      const row = (c * height + y) * width;
      const source = y + dy;
      if (source < 0 || source >= height) {
        to.fill(outside, row, row + width);
        continue;
      }
      const at = (c * height + source) * width;
      for (let x = 0; x < width; x++) {
        const column = (mirrored ? width - 1 - x : x) + dx;
        to[row + x] = column < 0 || column >= width ? outside : from[at + column];
      }
    }
  }
}
