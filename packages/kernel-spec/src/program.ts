/** The lowered network: typed calls of kernel families over buffers. Backends know this and nothing above it. */
import type { DType, Tensor, TypedArray } from '@bitloom/tensor';
import type { QuantParams } from '@bitloom/numerics';
import type { ConvParams } from './conv.js';
import type { Nest } from './nest.js';

export type BufferId = number;

/**
 * Storage of one tensor. `strides` (in elements) say where logical element (i₀, i₁ …) lies; the buffer is dense.
 * Quantised activations are u8 codes with `quant` set; weights of integer convolutions are constant i8 integer values.
 */
export interface BufferDef {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly elements: number;
  readonly quant: QuantParams | null;
  /** Constant data in physical order, else null. */
  readonly data: TypedArray | null;
}

/** One call of a kernel family. Arguments are read, results written; they never alias. `origin` names the ONNX node. */
export type KernelCall = { readonly args: readonly BufferId[]; readonly results: readonly BufferId[]; readonly origin: string } & KernelBody;

export type KernelBody =
  | { readonly family: 'nest'; readonly params: Nest }
  | { readonly family: 'conv'; readonly params: ConvParams };

export interface Port {
  /** ONNX input or output name. */
  readonly name: string;
  readonly buffer: BufferId;
}

export interface Program {
  readonly name: string;
  readonly buffers: readonly BufferDef[];
  readonly calls: readonly KernelCall[];
  /** Row-major buffers that the caller fills and reads. */
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** Inputs and outputs of a run, by port name. */
export type TensorMap = ReadonlyMap<string, Tensor>;
