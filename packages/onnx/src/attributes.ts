import { fail } from '@bitloom/diagnostics';
import { type AttributeProto, type GraphProto, type TensorProto, numberOf } from './proto.js';

const FLOAT = 1;
const INT = 2;
const STRING = 3;
const TENSOR = 4;
const GRAPH = 5;
const FLOATS = 6;
const INTS = 7;
const STRINGS = 8;

const text = (bytes: Uint8Array | null | undefined): string => Buffer.from(bytes ?? []).toString('utf8');

/** Attributes of an ONNX node by name. Readers throw E209 when the file holds another kind than the one asked for. */
export class Attributes {
  private readonly map: ReadonlyMap<string, AttributeProto>;

  constructor(attributes: readonly AttributeProto[], private readonly node: string) {
    this.map = new Map(attributes.map((a) => [a.name ?? '', a]));
  }

  has(name: string): boolean {
    return this.map.has(name);
  }

  names(): string[] {
    return [...this.map.keys()];
  }

  get(name: string): AttributeProto | undefined {
    return this.map.get(name);
  }

  private read<T>(name: string, kind: number, read: (a: AttributeProto) => T, absent: T): T {
    const a = this.map.get(name);
    if (!a) return absent;
    // Files before IR version 2 leave the kind out.
    if (a.type && a.type !== kind) {
      fail('E209', `attribute ${name} is of the wrong kind`, { node: this.node, found: `kind ${a.type}`, expected: `kind ${kind}` });
    }
    return read(a);
  }

  int<D = number>(name: string, absent: D): number | D {
    return this.read<number | D>(name, INT, (a) => numberOf(a.i), absent);
  }
  float<D = number>(name: string, absent: D): number | D {
    return this.read<number | D>(name, FLOAT, (a) => a.f ?? 0, absent);
  }
  bool(name: string, absent: boolean): boolean {
    return this.int(name, Number(absent)) !== 0;
  }
  string<D = string>(name: string, absent: D): string | D {
    return this.read<string | D>(name, STRING, (a) => text(a.s), absent);
  }
  ints<D = null>(name: string, absent: D): number[] | D {
    return this.read<number[] | D>(name, INTS, (a) => (a.ints ?? []).map(numberOf), absent);
  }
  floats<D = null>(name: string, absent: D): number[] | D {
    return this.read<number[] | D>(name, FLOATS, (a) => [...(a.floats ?? [])], absent);
  }
  strings<D = null>(name: string, absent: D): string[] | D {
    return this.read<string[] | D>(name, STRINGS, (a) => (a.strings ?? []).map(text), absent);
  }
  tensor(name: string): TensorProto | null {
    return this.read<TensorProto | null>(name, TENSOR, (a) => a.t ?? null, null);
  }
  graph(name: string): GraphProto | null {
    return this.read<GraphProto | null>(name, GRAPH, (a) => a.g ?? null, null);
  }
}
