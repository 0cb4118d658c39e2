import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { complex, part, transform } from './fourier.js';

/** Fourier transforms of windowed frames: [batch, frames, bins, 2]. */
export const STFT: OnnxImporter = (n) => {
  const { b } = n;
  const [batch, length, parts] = n.shape(0).length === 3 ? n.shape(0) : [...n.shape(0), 1];
  const step = n.number(1, 'frame_step');
  const window = n.optional(2);
  const size = n.number(3, 'frame_length', window === null ? undefined : b.shapeOf(window)[0]);
  const frames = Math.floor((length - size) / step) + 1;
  if (!(step >= 1) || !(frames >= 1)) n.mismatch(`${length} samples`, `frames of ${size} every ${step}`);
  const index = n.generate('i64', [frames, size], (i) => Math.floor(i / size) * step + (i % size));
  const signal = n.reshape(n.x(0), [batch, length, parts]);
  const framed = (i: number): ValueId => {
    const x = n.op('gather', [part(n, signal, i), index], { axis: 1 });
    return window === null ? x : compose.mul(b, x, window);
  };
  const bins = n.attrs.bool('onesided', true) ? Math.floor(size / 2) + 1 : size;
  return complex(n, ...transform(n, framed(0), parts === 2 ? framed(1) : null, size, bins, false));
};
