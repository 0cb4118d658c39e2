/** Pieces of attribute schemas. */
import { z } from 'zod';
import type { Tensor } from '@bitloom/tensor';

const int = z.number().int();
export const natural = z.number().int().nonnegative();
export const nonzeros = z.array(int.refine((v) => v !== 0, 'expected no zero')).readonly();
export const naturals = z.array(natural).readonly();
/** Any number, infinities and NaN included (zod's own `number` refuses them). */
export const anyNumber = z.custom<number>((v) => typeof v === 'number', 'expected a number');
export const dtype = z.enum(['f32', 'f64', 'i8', 'i16', 'i32', 'i64', 'u8', 'u16', 'u32', 'u64', 'bool']);
const isTensor = (v: unknown): v is Tensor => typeof v === 'object' && v !== null && 'dtype' in v && 'shape' in v && 'data' in v;
export const tensorAttr = z.custom<Tensor>(isTensor, 'expected a tensor');
export const none = z.strictObject({});
export type NoAttrs = z.infer<typeof none>;
