/**
 * C functions that give the scalar operations of nests their exact meaning. A generated file holds only those it uses.
 *
 * All are branch-free at source level (values are computed, then selected), so that compilers can vectorise loops around them
 * although floating-point operations may trap. GCC makes branches of nested selections again (it threads jumps), and then of its vectors four times as many
 * instructions; where there are vectors it is given a selection by bits. Conversions of out-of-range unsigned to signed integers are relied on to wrap:
 * implementation-defined in C99, and so defined by every compiler that has the exact-width types.
 */
import { fail } from '@bitloom/diagnostics';
import { ROUNDER } from '@bitloom/kernel-spec';

interface Helper {
  readonly uses: readonly string[];
  readonly code: string;
}

const table: Record<string, Helper> = {};
const define = (name: string, code: string): void => {
  const uses = [...new Set([...code.matchAll(/\bbl_\w+/g)].map((m) => m[0]))].filter((u) => u !== name);
  table[name] = { uses, code };
};

const VECTORS_OF_GCC = 'defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__)';

interface FloatType {
  readonly s: string;
  readonly c: string;
  readonly u: string;
  readonly i: string;
  readonly lit: string;
  /** 2^(mantissa bits): adding and subtracting it rounds to an integer. */
  readonly magic: string;
  readonly sign: string;
  readonly nan: string;
}
const FLOATS: readonly FloatType[] = [
  { s: 'f32', c: 'float', u: 'uint32_t', i: 'int32_t', lit: 'f', magic: '8388608.0f', sign: 'UINT32_C(0x80000000)', nan: '0x7fc00000' },
  { s: 'f64', c: 'double', u: 'uint64_t', i: 'int64_t', lit: '', magic: '4503599627370496.0', sign: 'UINT64_C(0x8000000000000000)', nan: 'INT64_C(0x7ff8000000000000)' },
];

for (const { s, c, u, i, lit, magic, sign, nan } of FLOATS) {
  define(`bl_raw_${s}`, `static inline ${u} bl_raw_${s}(${c} x)
{
  ${u} u;
  memcpy(&u, &x, sizeof u);
  return u;
}`);
  define(`bl_from_${s}`, `static inline ${c} bl_from_${s}(${u} u)
{
  ${c} x;
  memcpy(&x, &u, sizeof x);
  return x;
}`);
  define(`bl_bits_${s}`, `static inline ${i} bl_bits_${s}(${c} x)
{
  const ${i} r = (${i})bl_raw_${s}(x);
  return x == x ? r : ${nan};
}`);
  define(`bl_abs_${s}`, `static inline ${c} bl_abs_${s}(${c} x)
{
  return bl_from_${s}(bl_raw_${s}(x) & ~${sign});
}`);
  define(`bl_sign_${s}`, `/* |x| with the sign of s, x >= 0 */
static inline ${c} bl_sign_${s}(${c} x, ${c} s)
{
  return bl_from_${s}(bl_raw_${s}(x) | (bl_raw_${s}(s) & ${sign}));
}`);
  define(`bl_nearest_${s}`, `/* to the nearest integer, ties to even */
static inline ${c} bl_nearest_${s}(${c} x)
{
  const ${c} a = bl_abs_${s}(x);
  const ${c} up = (${c})(a + ${magic});
  const ${c} r = bl_sign_${s}((${c})(up - ${magic}), x);
  return a < ${magic} ? r : x;
}`);
  define(`bl_trunc_${s}`, `static inline ${c} bl_trunc_${s}(${c} x)
{
  const ${c} a = bl_abs_${s}(x);
  const ${c} up = (${c})(a + ${magic});
  const ${c} n = (${c})(up - ${magic});
  const ${c} below = (${c})(n - 1.0${lit});
  const ${c} r = bl_sign_${s}(n > a ? below : n, x);
  return a < ${magic} ? r : x;
}`);
  define(`bl_floor_${s}`, `static inline ${c} bl_floor_${s}(${c} x)
{
  const ${c} t = bl_trunc_${s}(x);
  const ${c} below = (${c})(t - 1.0${lit});
  return t > x ? below : t;
}`);
  define(`bl_ceil_${s}`, `static inline ${c} bl_ceil_${s}(${c} x)
{
  const ${c} t = bl_trunc_${s}(x);
  const ${c} above = (${c})(t + 1.0${lit});
  return t < x ? above : t;
}`);
  // Equal operands may be zeros of either sign: −0 is the smaller.
  for (const [name, compare, merge] of [['min', '<', '|'], ['max', '>', '&']]) {
    define(`bl_${name}_${s}`, `/* NaN if either is; -0 < +0 */
static inline ${c} bl_${name}_${s}(${c} a, ${c} b)
{
  const ${c} nan = (${c})(a + b);
  const ${c} same = bl_from_${s}(bl_raw_${s}(a) ${merge} bl_raw_${s}(b));
  const ${c} r = a ${compare} b ? a : b;
  return a == b ? same : a != a || b != b ? nan : r;
}`);
  }
  for (const [name, compare] of [['pmin', 'b < a'], ['pmax', 'a < b']]) {
    define(`bl_${name}_${s}`, `static inline ${c} bl_${name}_${s}(${c} a, ${c} b)
{
#if ${VECTORS_OF_GCC}
  const ${u} b_bits = (${u})-(${i})(${compare});
  return bl_from_${s}((bl_raw_${s}(b) & b_bits) | (bl_raw_${s}(a) & ~b_bits));
#else
  return ${compare} ? b : a;
#endif
}`);
  }
}

define('bl_near_f32', `/* to the nearest integer, ties to even, where |x| <= ${ROUNDER.limit} */
static inline float bl_near_f32(float x)
{
  const float up = (float)(x + ${ROUNDER.float}.0f);
  return bl_sign_f32((float)(up - ${ROUNDER.float}.0f), x);
}`);

define('bl_clamp_f32', `/* from 0 to hi > 0; x is a number. Bits of floats from 0 on are ordered as integers */
static inline float bl_clamp_f32(float x, float hi)
{
#if ${VECTORS_OF_GCC}
  const int32_t bits = (int32_t)bl_raw_f32(x), most = (int32_t)bl_raw_f32(hi), above = bits > 0 ? bits : 0;
  return bl_from_f32((uint32_t)(above < most ? above : most));
#else
  const float above = 0.0f < x ? x : 0.0f;
  return above < hi ? above : hi;
#endif
}`);

/** Saturating casts: clamp to what converts without overflow, convert, then put in the values beyond. */
for (const [to, from, lo, hi, limit] of [
  ['i32', 'f32', '-2147483648.0f', '2147483520.0f', '2147483648.0f'],
  ['i32', 'f64', '-2147483648.0', '2147483647.0', '2147483648.0'],
  ['i64', 'f32', '-9223372036854775808.0f', '9223371487098961920.0f', '9223372036854775808.0f'],
  ['i64', 'f64', '-9223372036854775808.0', '9223372036854774784.0', '9223372036854775808.0'],
]) {
  const [t, c] = [to === 'i32' ? 'int32_t' : 'int64_t', from === 'f32' ? 'float' : 'double'];
  define(`bl_${to}_${from}`, `/* truncates and saturates; 0 for NaN */
static inline ${t} bl_${to}_${from}(${c} x)
{
  const ${c} above = x >= ${lo} ? x : ${lo};
  const ${c} in = above <= ${hi} ? above : ${hi};
  const ${t} n = (${t})in;
  const ${t} r = x >= ${limit} ? ${to === 'i32' ? 'INT32_MAX' : 'INT64_MAX'} : n;
  return x == x ? r : 0;
}`);
}

for (const [s, t, u] of [['i32', 'int32_t', 'uint32_t'], ['i64', 'int64_t', 'uint64_t']]) {
  define(`bl_min_${s}`, `static inline ${t} bl_min_${s}(${t} a, ${t} b)
{
  return b < a ? b : a;
}`);
  define(`bl_max_${s}`, `static inline ${t} bl_max_${s}(${t} a, ${t} b)
{
  return a < b ? b : a;
}`);
  define(`bl_abs_${s}`, `static inline ${t} bl_abs_${s}(${t} x)
{
  return x < 0 ? (${t})(0u - (${u})x) : x;
}`);
  define(`bl_div_${s}`, `/* 0 for a zero divisor; wraps */
static inline ${t} bl_div_${s}(${t} a, ${t} b)
{
  return b == 0 ? 0 : b == -1 ? (${t})(0u - (${u})a) : a / b;
}`);
  define(`bl_rem_${s}`, `static inline ${t} bl_rem_${s}(${t} a, ${t} b)
{
  return b == 0 || b == -1 ? 0 : a % b;
}`);
  define(`bl_shr_${s}`, `/* arithmetic */
static inline ${t} bl_shr_${s}(${t} x, unsigned n)
{
  return x < 0 ? ~(~x >> n) : x >> n;
}`);
}

/** Helper functions needed by `text`, in order of definition, each followed by a blank line. */
export function helperCode(text: string): string {
  const needed = new Set<string>();
  const need = (name: string): void => {
    if (needed.has(name)) return;
    const h = table[name];
    if (!h) fail('E901', `C helper ${name} does not exist`);
    needed.add(name);
    h.uses.forEach(need);
  };
  for (const m of text.matchAll(/\bbl_[a-z0-9]+_[fi](?:32|64)\b/g)) need(m[0]);
  return Object.keys(table).filter((n) => needed.has(n)).map((n) => `${table[n].code}\n\n`).join('');
}
