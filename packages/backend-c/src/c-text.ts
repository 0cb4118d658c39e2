/** Small pieces of C text: types, literals, identifiers. */
import type { DType } from '@bitloom/tensor';
import type { Scalar } from '@bitloom/kernel-spec';

/** C element type of a storage type. */
export const C_TYPE: Readonly<Record<DType, string>> = {
  f32: 'float', f64: 'double', i8: 'int8_t', i16: 'int16_t', i32: 'int32_t', i64: 'int64_t',
  u8: 'uint8_t', u16: 'uint16_t', u32: 'uint32_t', u64: 'uint64_t', bool: 'uint8_t',
};

export const C_SCALAR: Readonly<Record<Scalar, string>> = { i32: 'int32_t', i64: 'int64_t', f32: 'float', f64: 'double' };

const KEYWORDS = new Set(
  ('auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return ' +
    'short signed sizeof static struct switch typedef union unsigned void volatile while _Bool _Complex _Imaginary main arena ' +
    // C++ and later C, since headers are included from both
    'and and_eq asm bitand bitor bool catch char8_t char16_t char32_t class compl concept const_cast consteval constexpr constinit ' +
    'co_await co_return co_yield decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq ' +
    'nullptr operator or or_eq private protected public reinterpret_cast requires static_assert static_cast template this thread_local ' +
    'throw true try typeid typename typeof using virtual wchar_t xor xor_eq alignas alignof').split(' '),
);

/** A C (and C++) identifier made of a model's name: other characters become `_`, keywords and leading digits get a suffix or prefix. */
export function identifier(name: string): string {
  const text = name.replace(/[^A-Za-z0-9]+/g, '_').replace(/^_+|_+$/g, '').slice(0, 48);
  if (text === '') return 'x';
  return /^[0-9]/.test(text) ? `n${text}` : KEYWORDS.has(text) ? `${text}_` : text;
}

/** Distinct identifiers for names, in order. */
export function uniqueIdentifiers(names: readonly string[], taken: Iterable<string> = []): string[] {
  const used = new Set(taken);
  return names.map((name) => {
    const base = identifier(name);
    let id = base;
    for (let i = 2; used.has(id); i++) id = `${base}_${i}`;
    used.add(id);
    return id;
  });
}

/** Text that cannot end or continue a comment. */
export const comment = (text: string): string => `/* ${text.replace(/[^\x20-\x7e]/g, '?').replace(/\*\//g, '* /').replace(/\/\*/g, '/ *')} */`;

/** A string literal; trigraphs cannot arise. */
export const stringLiteral = (text: string): string => `"${text.replace(/[^\x20-\x7e]/g, '?').replace(/[\\"?]/g, '\\$&')}"`;

/** Exact C99 literal of a finite or infinite float or a NaN; negative ones are parenthesised. */
export function floatLiteral(v: number, type: 'f32' | 'f64'): string {
  const suffix = type === 'f32' ? 'f' : '';
  if (Number.isNaN(v)) return type === 'f32' ? 'NAN' : '(double)NAN';
  const a = Math.abs(v);
  let text: string;
  if (a === Infinity) text = type === 'f32' ? 'INFINITY' : '(double)INFINITY';
  else if (Number.isInteger(a) && a < 2 ** 24) text = `${a}.0${suffix}`;
  else {
    // Hexadecimal, because C guarantees its exact conversion.
    let exponent = Math.max(-1022, Math.floor(Math.log2(a)));
    if (a / 2 ** exponent >= 2) exponent++;
    if (a / 2 ** exponent < 1 && exponent > -1022) exponent--;
    const mantissa = a / 2 ** exponent;
    const whole = Math.floor(mantissa);
    const digits = BigInt((mantissa - whole) * 2 ** 52).toString(16).padStart(13, '0').replace(/0+$/, '');
    text = `0x${whole}${digits ? `.${digits}` : ''}p${exponent >= 0 ? '+' : ''}${exponent}${suffix}`;
  }
  return v < 0 || Object.is(v, -0) ? `(-${text})` : text;
}

export function intLiteral(v: number | bigint, type: 'i32' | 'i64'): string {
  if (type === 'i32') return v === -2147483648 ? 'INT32_MIN' : Number(v) < 0 ? `(${v})` : `${v}`;
  const b = BigInt(v);
  if (b === -(2n ** 63n)) return 'INT64_MIN';
  return b < 0n ? `(-INT64_C(${-b}))` : `INT64_C(${b})`;
}

/** Lines of at most `width` characters made of comma-separated items, indented by two spaces. */
export function wrapItems(items: readonly string[], width = 120): string {
  const lines: string[] = [];
  let line = ' ';
  for (const item of items) {
    if (line.length + item.length + 2 > width) {
      lines.push(line);
      line = ' ';
    }
    line += ` ${item},`;
  }
  if (line !== ' ') lines.push(line);
  return lines.join('\n');
}

/** Initialisers of a uint64_t array that holds `bytes` on a little-endian machine; the last word is filled with zeros. */
export function wordLines(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 48) {
    let line = ' ';
    for (let i = at; i < Math.min(bytes.length, at + 48); i += 8) {
      let word: bigint;
      if (i + 8 <= bytes.length) word = view.getBigUint64(i, true);
      else word = bytes.subarray(i).reduce((sum, b, j) => sum | (BigInt(b) << BigInt(8 * j)), 0n);
      line += word === 0n ? ' 0,' : ` 0x${word.toString(16)},`;
    }
    lines.push(line);
  }
  return lines.length ? lines.join('\n') : '  0,';
}
