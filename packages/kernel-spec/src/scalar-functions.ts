/**
 * Elementary functions as straight-line f32 programs in our own expression form, so that every backend prints them once per
 * language, scalar and vectorised, with identical bits.
 */
import * as e from './expr.js';
import type { Expr } from './nest.js';

/**
 * `lets` are f32 or i32, evaluated in order; no loads, no 64-bit types, so that each expression maps lane-wise onto f32x4/i32x4.
 * `call` may name other entries.
 */
export interface ScalarFunction {
  readonly params: readonly string[];
  readonly lets: readonly { readonly name: string; readonly x: Expr }[];
  readonly result: Expr;
  /** Largest error in units in the last place of the f32 result over `domain`. */
  readonly maxUlp: number;
  readonly domain: string;
}

/** Collects named values of a function under construction. */
type Let = (x: Expr) => Expr;

function define(params: number, maxUlp: number, domain: string, body: (name: Let, ...args: Expr[]) => Expr): ScalarFunction {
  const names = ['x', 'y'].slice(0, params);
  const lets: { name: string; x: Expr }[] = [];
  const named: Let = (x) => {
    if (x.k === 'const' || x.k === 'var') return x;
    const name = `t${lets.length}`;
    lets.push({ name, x });
    return { k: 'var', t: x.t, name };
  };
  const result = body(named, ...names.map((name): Expr => ({ k: 'var', t: 'f32', name })));
  return { params: names, lets, result, maxUlp, domain };
}

export const SCALAR_FUNCTIONS: Readonly<Record<string, ScalarFunction>> = {
  reciprocal: define(1, 0.5, 'all x', (_, x) => e.div(e.f32(1), x)),
};
