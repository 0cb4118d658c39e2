import { describe, expect, it } from 'vitest';
import { Rng } from '@bitloom/tensor';
import { type Expr, SCALAR_FUNCTIONS, checkScalarFunction, scalarImplementations } from './index.js';

/** erf in double: Maclaurin series, and Lentz's continued fraction of erfc beyond 2.5. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (!(a < 6) || a === 0) return a === 0 ? x : Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 80; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let f = a;
  for (let k = 120; k > 0; k--) f = a + k / 2 / f;
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / f);
}

const OF_MATH = [
  'exp', 'expm1', 'log', 'log1p', 'tanh', 'sinh', 'cosh', 'asinh', 'acosh', 'atanh', 'sin', 'cos', 'tan', 'asin', 'acos', 'atan',
] as const;

/** Double-precision values to measure against. */
const ORACLE: Readonly<Record<string, (x: number, y: number) => number>> = {
  ...Object.fromEntries(OF_MATH.map((k) => [k, Math[k]])),
  erf,
  // C99 gives 1 where JavaScript gives NaN.
  pow: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y),
  sigmoid: (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x))),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
};

/** Largest |x| of the domain in which the bound is stated. */
const LIMIT: Readonly<Record<string, number>> = { sin: 1e4, cos: 1e4, tan: 1e4, asin: 1, acos: 1, atanh: 1 };

const F = new Float32Array(1);
const I = new Int32Array(F.buffer);
const floatOf = (bits: number): number => {
  I[0] = bits;
  return F[0];
};

/** |got − want| in units of the last place of f32 at `want`; infinite when a special value is missed. */
function ulps(got: number, want: number): number {
  if (Object.is(got, Math.fround(want)) || (got !== got && want !== want)) return 0;
  if (got !== got || want !== want || Object.is(got, 0) !== Object.is(Math.fround(want), 0) && got === want) return Infinity;
  // Overflow is judged as if the exponent range went on.
  const g = Math.abs(got) === Infinity ? Math.sign(got) * 2 ** 128 : got;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(want))), -126);
  return Math.abs(g - want) / 2 ** (Math.min(exponent, 127) - 23);
}

const f = scalarImplementations();

/** Numbers around which argument reductions and cases change. */
const CORNERS = [
  0, 2 ** -149, 2 ** -126, 2 ** -25, 2 ** -24, 0.4142135623, 0.5, 0.625, Math.SQRT1_2, 0.785398, 0.92, 1, Math.SQRT2, 1.5, 2, 2.4142135, 3, 4, 9,
  10, 17.3, 18, 80, 87.33, 88.72, 89.4, 90, 100, 103.97, 104, 4096, 8191.5, 1e4, 2 ** 23, 2 ** 24, 1e30, 3.4e38, Infinity,
];
const samples = (function* () {
  for (const c of CORNERS) {
    F[0] = c;
    const at = I[0];
    for (let d = -40; d <= 40; d++) if (at + d >= 0 && at + d <= 0x7f800000) yield floatOf(at + d);
  }
  for (let b = 0; b < 0x7f800000; b += 9973) yield floatOf(b);
  for (let b = 0x33000000; b < 0x43000000; b += 997) yield floatOf(b);
})();
const POSITIVE = Float32Array.from(samples);

describe('scalar functions', () => {
  it('are well-formed, and every one has an oracle', () => {
    for (const s of Object.values(SCALAR_FUNCTIONS)) checkScalarFunction(s);
    expect(Object.keys(SCALAR_FUNCTIONS).sort()).toEqual(Object.keys(ORACLE).sort());
  });

  for (const [name, { maxUlp, params }] of Object.entries(SCALAR_FUNCTIONS)) {
    if (params.length !== 1) continue;
    it(`${name} is within ${maxUlp} ulp`, () => {
      let worst = { error: 0, x: 0 };
      const oracle = ORACLE[name];
      for (const a of POSITIVE) {
        if (a > (LIMIT[name] ?? Infinity)) continue;
        for (const x of [a, -a]) {
          const error = ulps(f[name](x), oracle(x, 0));
          if (error > worst.error) worst = { error, x };
        }
      }
      expect(worst.error, `at ${worst.x}: ${f[name](worst.x)} for ${oracle(worst.x, 0)}`).toBeLessThanOrEqual(maxUlp);
      expect(f[name](NaN)).toBeNaN();
    });
  }
  const expectPow = (pairs: Iterable<readonly [number, number]>): void => {
    const name = 'pow';
    let worst = { error: 0, x: 0, y: 0 };
    for (const [x, y] of pairs) {
      const error = ulps(f[name](x, y), ORACLE[name](x, y));
      if (error > worst.error) worst = { error, x, y };
    }
    const { error, x, y } = worst;
    expect(error, `at ${x}, ${y}: ${f[name](x, y)} for ${ORACLE[name](x, y)}`).toBeLessThanOrEqual(SCALAR_FUNCTIONS[name].maxUlp);
  };

  it('pow is within its bound where results are finite, large or small', () => {
    const rng = new Rng(7);
    expectPow((function* () {
      for (let i = 0; i < 400_000; i++) {
        const x = floatOf(rng.int(0x7f800000));
        // Exponents for which the result spreads over the whole range, ordinary ones, and integers with negative bases.
        yield [x, Math.fround((rng.uniform() * 300 - 150) / Math.log2(x))];
        const near = Math.fround(0.5 + rng.uniform() * 1.5);
        yield [near, Math.fround((rng.uniform() * 300 - 150) / Math.log2(near))];
        yield [Math.fround(rng.uniform() * 10), Math.fround(rng.normal() * 3)];
        yield [Math.fround(-rng.uniform() * 10), rng.int(21) - 10];
      }
    })());
  });

  it('pow has the special cases of C99', () => {
    const special = [
      0, 2 ** -149, 2 ** -126, 0.25, 0.5, 1 - 2 ** -24, 1, 1 + 2 ** -23, 1.5, 2, 3, 2.5, 4,
      2 ** 23 - 0.5, 2 ** 23 + 1, 2 ** 24 - 1, 2 ** 24, 1e10, 3.4028234663852886e38, Infinity,
    ];
    const all = [...special, ...special.map((v) => -v), NaN];
    expectPow(all.flatMap((x) => all.map((y) => [x, y] as const)));
    expect(f.pow(1, NaN)).toBe(1);
    expect(f.pow(NaN, 0)).toBe(1);
    expect(f.pow(NaN, 1)).toBeNaN();
    expect(f.pow(2, NaN)).toBeNaN();
    expect(f.pow(-0, -3)).toBe(-Infinity);
    expect(f.pow(-8, 1 / 3)).toBeNaN();
  });

  it('keep results bounded beyond the domain of the trigonometric reduction', () => {
    for (const name of ['sin', 'cos']) expect(POSITIVE.filter((x) => x < Infinity).every((x) => Math.abs(f[name](x)) <= 1)).toBe(true);
    for (const name of ['sin', 'cos', 'tan']) expect(f[name](-Infinity)).toBeNaN();
  });

  it('use only what maps lane-wise onto 32-bit vectors', () => {
    /** Whether x is a comparison, or several joined. */
    const condition = (x: Expr): boolean =>
      x.k === 'cmp' || (x.k === 'bin' && (x.op === 'and' || x.op === 'or') && condition(x.a) && condition(x.b));
    const visit = (x: Expr, asCondition = false): void => {
      if (condition(x) !== asCondition) throw new Error(`a comparison used as a number, or the reverse: ${x.k}`);
      if (x.k === 'cmp') [x.a, x.b].forEach((y) => visit(y));
      else if (x.k === 'sel') [x.a, x.b].reduce((_, y) => visit(y), visit(x.c, true));
      else if (x.k === 'un' || x.k === 'cast') visit(x.x);
      else if (x.k === 'call') x.args.forEach((y) => visit(y));
      else if (x.k === 'bin') {
        if (['shl', 'shr', 'ushr'].includes(x.op) && x.b.k !== 'const') throw new Error('a shift count is not constant');
        if (['div', 'rem'].includes(x.op) && x.t !== 'f32') throw new Error('integer division');
        [x.a, x.b].forEach((y) => visit(y, asCondition));
      }
    };
    for (const s of Object.values(SCALAR_FUNCTIONS)) [...s.lets.map((l) => l.x), s.result].forEach((x) => visit(x));
  });
});
