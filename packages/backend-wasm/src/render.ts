/** Functions of a module from templates. */
import { readFileSync } from 'node:fs';
import { compileTemplate } from '@bitloom/codegen';
import type { WasmFunction } from './family.js';

const templates = new Map<string, (view: object) => string>();

/** A function from templates/<template>.wat.hbs; `view` gets its name as `symbol`. */
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

/** [0, 1, … n − 1] */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Lanes that take `width` bytes of the low or high half of a vector and of what lies `other` bytes on in turns. */
export const interleaved = (width: number, high: boolean, other: number): number[] =>
  range(16).map((i) => {
    const unit = Math.floor(i / width);
    return (high ? 8 : 0) + Math.floor(unit / 2) * width + (i % width) + (unit % 2) * other;
  });
