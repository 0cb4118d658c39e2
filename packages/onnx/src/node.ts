import { fail } from '@bitloom/diagnostics';
import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import { type DType, type Tensor, isFloat, tensorOf, toNumbers } from '@bitloom/tensor';
import type { Attributes } from './attributes.js';
import { generatedCount } from './data-types.js';
import type { FoldingBuilder } from './folding.js';
import type { GraphProto, TensorProto } from './proto.js';

/** Emits the core ops of one ONNX node and returns its outputs, as many as it supports. */
export type OnnxImporter = (n: OnnxNode) => ValueId | readonly ValueId[];

/** What a node needs of the graph around it. */
export interface Surroundings {
  /** Imports a subgraph in place, with values for its inputs; returns its outputs. `label` goes into the origins of its nodes. */
  inline(graph: GraphProto, label: string, inputs?: readonly ValueId[]): ValueId[];
  readTensor(p: TensorProto, name: string): Tensor;
  /** Called when a parameter must be constant but is computed or fed at run time. */
  wanted(input: string): void;
}

/** One ONNX node as an importer sees it. Readers fail with E202 (collected over the whole graph) when the node is beyond support. */
export class OnnxNode {
  constructor(
    readonly b: FoldingBuilder,
    readonly opType: string,
    readonly name: string,
    readonly opset: number,
    readonly attrs: Attributes,
    private readonly inputs: readonly (ValueId | null)[],
    private readonly inputNames: readonly string[],
    /** ONNX names of the outputs; '' where an output is not wanted. */
    readonly outputs: readonly string[],
    readonly around: Surroundings,
  ) {}

  get inputCount(): number {
    return this.inputs.length;
  }

  /** Whether output `i` is used under a name. */
  wants(i: number): boolean {
    return (this.outputs[i] ?? '') !== '';
  }

  unsupported(reason: string): never {
    fail('E202', reason, { node: this.name });
  }

  /** Input `i`, or null when the node leaves it out. */
  optional(i: number): ValueId | null {
    return this.inputs[i] ?? null;
  }

  /** Input `i`. @throws E207 when the node leaves it out. */
  x(i: number): ValueId {
    return this.inputs[i] ?? fail('E207', `${this.opType} lacks input ${i}`, { node: this.name });
  }

  /** All inputs, none of which may be left out. */
  all(): ValueId[] {
    return this.inputs.map((_, i) => this.x(i));
  }

  shape(i: number): readonly number[] {
    return this.b.shapeOf(this.x(i));
  }

  rank(i: number): number {
    return this.shape(i).length;
  }

  dtype(i: number): DType {
    return this.b.typeOf(this.x(i)).dtype;
  }

  /** Constant contents of input `i`; null when the node leaves it out. */
  constant(i: number, what: string): Tensor | null {
    const id = this.optional(i);
    if (id === null) return null;
    const data = this.b.constantOf(id);
    if (data) return data;
    this.around.wanted(this.inputNames[i]);
    return this.unsupported(`${what} is not constant`);
  }

  /** Constant input `i` as numbers; null when the node leaves it out. */
  ints(i: number, what: string): number[] | null {
    const t = this.constant(i, what);
    return t && toNumbers(t);
  }

  /** Constant input `i` as numbers. @throws E207 when the node leaves it out. */
  list(i: number, what: string): number[] {
    this.x(i);
    return this.ints(i, what)!;
  }

  /** The one element of constant input `i`; `absent` when the node leaves it out. @throws E204 for another count, E207 as {@link x}. */
  number(i: number, what: string, absent?: number): number {
    if (absent !== undefined && this.optional(i) === null) return absent;
    const values = this.list(i, what);
    return values.length === 1 ? values[0] : this.mismatch(`${values.length} elements in ${what}`, 'one');
  }

  /** Attribute in old opsets, constant input `i` in new ones. */
  intsFrom(attribute: string, i: number): number[] | null {
    return this.attrs.ints(attribute, null) ?? this.ints(i, attribute);
  }

  /** Axis in [0, rank). @throws E204 out of range. */
  axis(axis: number, rank: number): number {
    const a = axis < 0 ? axis + rank : axis;
    if (!Number.isInteger(axis) || a < 0 || a >= rank) {
      fail('E204', `axis of ${this.opType} is out of range`, { node: this.name, found: String(axis), expected: `an axis of a rank-${rank} tensor` });
    }
    return a;
  }

  /** Distinct axes in [0, rank), sorted. */
  axes(axes: readonly number[], rank: number): number[] {
    return [...new Set(axes.map((a) => this.axis(a, rank)))].sort((p, q) => p - q);
  }

  mismatch(found: string, expected: string): never {
    fail('E204', `operands of ${this.opType} do not fit`, { node: this.name, found, expected });
  }

  op(op: string, inputs: readonly ValueId[], attrs: unknown = {}): ValueId {
    return this.b.add(op, inputs, attrs);
  }

  const(dtype: DType, shape: readonly number[], values: ArrayLike<number | bigint | boolean>): ValueId {
    return this.b.const(tensorOf(dtype, shape, values));
  }

  /** Constant whose elements are computed. @throws E206 when there are too many. */
  generate(dtype: DType, shape: readonly number[], at: (i: number) => number | boolean): ValueId {
    return this.const(dtype, shape, Array.from({ length: generatedCount(shape, this.name) }, (_, i) => at(i)));
  }

  /** 0, 1, … along one axis, with as many axes as `rank`. */
  positions(count: number, axis: number, rank: number): ValueId {
    return this.generate('i64', Array.from({ length: rank }, (_, i) => (i === axis ? count : 1)), (i) => i);
  }

  /** Rank-0 constant of `x`'s element type. */
  like(x: ValueId, value: number): ValueId {
    const { dtype } = this.b.typeOf(x);
    if (!Number.isFinite(value) && !isFloat(dtype)) this.unsupported(`${dtype} operands`);
    return compose.scalarLike(this.b, x, value);
  }

  cast(x: ValueId, to: DType): ValueId {
    return compose.castTo(this.b, x, to);
  }

  reshape(x: ValueId, shape: readonly number[]): ValueId {
    return compose.reshapeTo(this.b, x, shape);
  }

  transpose(x: ValueId, perm: readonly number[]): ValueId {
    return compose.transpose(this.b, x, perm);
  }
}
