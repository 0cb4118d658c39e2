/** ONNX files that no exporter would write, encoded by hand. */

type Bytes = readonly number[];

function varint(n: number): number[] {
  const out: number[] = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  return [...out, n];
}
const text = (s: string): Bytes => [...new TextEncoder().encode(s)];
const message = (n: number, bytes: Bytes): number[] => [...varint(n * 8 + 2), ...varint(bytes.length), ...bytes];
const int = (n: number, v: number): number[] => [...varint(n * 8), ...varint(v)];

export const node = (op: string, inputs: readonly string[], output: string, name = `${op}_${output}`): Bytes =>
  message(1, [...inputs.flatMap((i) => message(1, text(i))), ...message(2, text(output)), ...message(3, text(name)), ...message(4, text(op))]);

const value = (n: 11 | 12, name: string, shape: readonly number[]): Bytes =>
  message(n, [...message(1, text(name)), ...message(2, message(1, [...int(1, 1), ...message(2, shape.flatMap((d) => message(1, int(1, d))))]))]);
export const input = (name: string, shape: readonly number[]): Bytes => value(11, name, shape);
export const output = (name: string, shape: readonly number[]): Bytes => value(12, name, shape);

const header = (name: string, shape: readonly number[]): Bytes => [...shape.flatMap((d) => int(1, d)), ...int(2, 1), ...message(8, text(name))];
export const weights = (name: string, shape: readonly number[], data: Float32Array): Bytes => message(5, [...header(name, shape), ...message(9, [...new Uint8Array(data.buffer)])]);
/** Weights in another file. */
export const external = (name: string, shape: readonly number[], location: string): Bytes =>
  message(5, [...header(name, shape), ...message(13, [...message(1, text('location')), ...message(2, text(location))]), ...int(14, 1)]);

export const model = (...parts: readonly Bytes[]): Uint8Array =>
  Uint8Array.from([...int(1, 8), ...message(7, [...parts.flat(), ...message(2, text('g'))]), ...message(8, [...message(1, []), ...int(2, 17)])]);
