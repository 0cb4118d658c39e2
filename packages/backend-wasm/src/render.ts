/** Functions from templates. */
import { readFileSync } from 'node:fs';
import { compileTemplate } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import { type Bits, isBits } from '@bitloom/numerics';
import type { WasmFunction } from './family.js';

const templates = new Map<string, (view: object) => string>();

/** A function from templates/<template>.wat.hbs; `view`, which does all arithmetic beforehand, gets its name as `symbol`. */
export function rendered<V extends object>(template: string, name: string, view: V): WasmFunction {
  return {
    name,
    text: () => {
      let render = templates.get(template);
      if (!render) {
        const source = readFileSync(new URL(`../templates/${template}.wat.hbs`, import.meta.url), 'utf8');
        templates.set(template, (render = compileTemplate<object>(source)));
      }
      return render({ ...view, symbol: name }).trimEnd();
    },
  };
}

export function requireBits(b: number): Bits {
  return isBits(b) ? b : fail('E901', 'kernel template: bit-width out of range', { found: String(b) });
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
