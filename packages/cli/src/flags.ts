/** Values of flags. Each parser refuses with E101 and the flag's name. */
import { fail } from '@bitloom/diagnostics';

const refuse = (flag: string, found: string, expected: string): never =>
  fail('E101', `bad value of ${flag}`, { node: flag, found, expected, remedy: 'see --help' });

/** A decimal number, or a fraction such as 1/255. */
export function number(flag: string, text: string): number {
  const parts = text.split('/').map((p) => (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(p.trim()) ? Number(p) : NaN));
  const value = parts.length === 1 ? parts[0] : parts.length === 2 ? parts[0] / parts[1] : NaN;
  return Number.isFinite(value) ? value : refuse(flag, text, 'a number');
}

export function integer(flag: string, text: string, min = -Infinity): number {
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) && value >= min ? value : refuse(flag, text, min === -Infinity ? 'an integer' : `an integer of at least ${min}`);
}

export const numbers = (flag: string, text: string): number[] => text.split(',').map((t) => number(flag, t));

export function bitList(flag: string, text: string): number[] {
  return text.split(',').map((t) => (/^[1-8]$/.test(t.trim()) ? Number(t) : refuse(flag, text, 'bit-widths from 1 to 8, as in 2,3,4,8')));
}

/** `name=value` */
export function pair(flag: string, text: string): [string, string] {
  const at = text.lastIndexOf('=');
  return at > 0 && at < text.length - 1 ? [text.slice(0, at), text.slice(at + 1)] : refuse(flag, text, 'NAME=VALUE');
}

/** Names and the like, separated by commas. */
export const list = (text: string): string[] => text.split(',').map((t) => t.trim());

/** `strategy.key=value` */
export function scoped(flag: string, text: string): [string, string, string] {
  const [, scope, key, value] = /^([^.=]+)\.([^=]+)=(.+)$/.exec(text) ?? refuse(flag, text, 'STRATEGY.NAME=VALUE');
  return [scope, key, value];
}

export function oneOf<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  return choices.find((c) => c === text) ?? fail('E101', `bad value of ${flag}`, {
    node: flag, found: text, expected: choices.join(', '), remedy: meant(text, choices),
  });
}

/** `did you mean …?` for a name at most two edits away. */
export function meant(text: string, names: readonly string[]): string | undefined {
  const best = names.map((n) => [edits(text, n), n] as const).sort(([a], [b]) => a - b)[0];
  return best && best[0] <= 2 ? `did you mean ${best[1]}?` : undefined;
}

/** Levenshtein distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let k = 1; k <= b.length; k++) next.push(Math.min(row[k] + 1, next[k - 1] + 1, row[k - 1] + (a[i - 1] === b[k - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length];
}
