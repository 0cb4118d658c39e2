/** Tokens of the IR's text form. Comments run from `//` to the end of the line. */
import { fail } from '@bitloom/diagnostics';

export type TokenKind = 'word' | 'value' | 'resource' | 'number' | 'string' | 'punctuation' | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** Without the % of a value, the @ of a resource, the quotes and escapes of a string. */
  readonly text: string;
  readonly offset: number;
}

const TOKEN = new RegExp(
  [
    String.raw`(?<skip>\s+|//[^\n]*)`,
    String.raw`%(?<value>[A-Za-z0-9_.$-]+)`,
    String.raw`@(?<resource>[A-Za-z0-9_.$-]+)`,
    String.raw`(?<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|-inf\b)`,
    String.raw`(?<word>[A-Za-z_][A-Za-z0-9_]*)`,
    String.raw`(?<string>"(?:[^"\\\n]|\\.)*")`,
    String.raw`(?<punctuation>[(){}\[\]<>,:=])`,
  ].join('|'),
  'y',
);

/** `line L, column C` of an offset, both from 1. */
export function position(text: string, offset: number): string {
  const before = text.slice(0, offset).split('\n');
  return `line ${before.length}, column ${before[before.length - 1].length + 1}`;
}

/** @throws E401 at the first character that starts no token */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  for (let offset = 0; offset < text.length; ) {
    TOKEN.lastIndex = offset;
    const match = TOKEN.exec(text);
    if (!match) fail('E401', `${position(text, offset)}: unexpected character`, { found: JSON.stringify(text[offset]) });
    const [kind, found] = Object.entries(match.groups!).find(([, v]) => v !== undefined)!;
    if (kind === 'string') tokens.push({ kind, text: unquote(text, found, offset), offset });
    else if (kind !== 'skip') tokens.push({ kind: kind as TokenKind, text: found, offset });
    offset = TOKEN.lastIndex;
  }
  tokens.push({ kind: 'end', text: '', offset: text.length });
  return tokens;
}

function unquote(text: string, quoted: string, offset: number): string {
  try {
    return JSON.parse(quoted) as string;
  } catch (error) {
    fail('E401', `${position(text, offset)}: malformed string`, { found: quoted, expected: 'a JSON string' }, error);
  }
}
