import type { ValueId } from './graph.js';

/** Whether the text form can print an id as it is. */
export const isPrintableId = (id: string): boolean => /^[A-Za-z0-9_.$-]+$/.test(id);

/** Hands out unused value ids, close to the names asked for. */
export class IdPool {
  private readonly taken = new Set<ValueId>();
  /** Next suffix to try per name, so that many values of one name cost no search. */
  private readonly next = new Map<string, number>();

  reserve(id: ValueId): void {
    this.taken.add(id);
  }

  fresh(name: string): ValueId {
    const base = name.replace(/[^A-Za-z0-9_.$-]/g, '_') || 'v';
    let i = this.next.get(base) ?? 0;
    let id = i === 0 ? base : `${base}.${i}`;
    while (this.taken.has(id)) id = `${base}.${++i}`;
    this.next.set(base, i + 1);
    this.taken.add(id);
    return id;
  }
}
