/** Relaxed SIMD in tests: behind a flag in Node 20. */
import { setFlagsFromString } from 'node:v8';
import { assemble } from './emit.js';

const PROBE = '(module (func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))';

/** Turns relaxed SIMD on where it is an experiment; false where the engine has none. */
export async function enableRelaxed(): Promise<boolean> {
  const supported = WebAssembly.validate((await assemble(PROBE)) as Uint8Array<ArrayBuffer>);
  if (supported) return true;
  // The first compiler of Node 20 gets i32x4.relaxed_dot_i8x16_i7x16_add_s wrong.
  for (const flag of ['--experimental-wasm-relaxed-simd', '--no-liftoff']) setFlagsFromString(flag);
  const now = WebAssembly.validate((await assemble(PROBE)) as Uint8Array<ArrayBuffer>);
  if (!now) console.warn('relaxed SIMD is not tested: this engine has none');
  return now;
}
