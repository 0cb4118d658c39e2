/** The kernel variants of WebAssembly: what each accepts, costs, needs, and the functions it is made of. */
import { type KernelVariant, alignUp } from '@bitloom/codegen';
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { familyVariant } from './driver.js';
import { FAMILIES } from './families.js';
import { type Isa, type WasmFunction, integerPacking } from './family.js';
import {
  CONV_PARAMS, type ConvParam, type EpilogueKind, depthwiseFunctions, depthwiseLanes, depthwisePixel, epilogue, isFloatParam, unpack,
} from './kernels.js';

/** Addresses of a call's operands, in memory. */
export interface Addresses {
  readonly args: readonly number[];
  readonly result: number;
  readonly scratch: number;
  readonly prepared: number;
}

/** What a call is made of. */
export interface ConvCode {
  /** Everything reached from `run` and `prepare`. */
  readonly functions: readonly WasmFunction[];
  /** Names of functions that take the address of the call's descriptor: one runs the call, one fills its prepared region. */
  readonly run: string;
  readonly prepare: string | null;
  /** Bytes of the descriptor. */
  readonly descriptorBytes: number;
}

export interface WasmVariant extends KernelVariant {
  readonly isa: Isa;
  code(p: ConvParams): ConvCode;
  /** Constant words, 4-aligned, from which the call's functions read sizes and addresses. */
  descriptor(p: ConvParams, at: Addresses): Int32Array;
}

/** Scratch regions of a call, by the parameter that takes their address. */
const REGIONS = ['panels', 'acc'] as const;
type Region = (typeof REGIONS)[number];

/** Numbers of one call: bytes of each scratch region, and every parameter that is not an address. */
interface CallNumbers {
  readonly regions: Readonly<Partial<Record<Region, number>>>;
  readonly values: Readonly<Partial<Record<ConvParam, number>>>;
}

type Definition = Omit<WasmVariant, 'scratch' | 'prepared' | 'code' | 'descriptor'> & {
  functions(p: ConvParams): readonly WasmFunction[];
  numbers(p: ConvParams): CallNumbers;
};

function variant(d: Definition): WasmVariant {
  const offsets = (p: ConvParams): { at: Partial<Record<Region, number>>; bytes: number } => {
    const { regions } = d.numbers(p);
    const at: Partial<Record<Region, number>> = {};
    let bytes = 0;
    for (const r of REGIONS) {
      at[r] = bytes;
      bytes += alignUp(regions[r] ?? 0);
    }
    return { at, bytes };
  };
  return {
    ...d,
    scratch: (p) => offsets(p).bytes,
    prepared: () => 0,
    code: (p) => {
      const functions = d.functions(p);
      return { functions, run: functions[0].name, prepare: null, descriptorBytes: 4 * CONV_PARAMS.length };
    },
    descriptor: (p, { args, result, scratch }) => {
      const { at } = offsets(p);
      const operands = { x: args[0], w: args[1], scale: args[2], offset: args[3] ?? 0, y: result };
      const values: Partial<Record<ConvParam, number>> = { ...d.numbers(p).values, ...operands };
      for (const r of REGIONS) values[r] = scratch + at[r]!;
      return Int32Array.from(CONV_PARAMS, (name) => {
        const v = values[name] ?? 0;
        return isFloatParam(name) ? new Int32Array(Float32Array.of(v).buffer)[0] : v;
      });
    },
  };
}

// ---- numbers shared by the variants

const pixelsOf = (p: ConvParams): number => p.batch * p.outH * p.outW;
const perGroup = (p: ConvParams): { readonly cg: number; readonly og: number } => ({ cg: p.inC / p.groups, og: p.outC / p.groups });
const isDepthwise = (p: ConvParams): boolean => p.groups > 1 && p.groups === p.inC && p.groups === p.outC;
const elementBytes = (p: ConvParams): 1 | 4 => (p.kind === 'int' ? 1 : 4);
const outShift = (p: ConvParams): 0 | 2 => (p.output === 'codes' ? 0 : 2);
const epilogueKind = (p: ConvParams): EpilogueKind => (p.kind === 'f32' ? 'bias' : p.output);

const geometry = (p: ConvParams): Partial<Record<ConvParam, number>> => ({
  inH: p.inH, inW: p.inW, outH: p.outH, outW: p.outW, kH: p.kH, kW: p.kW, strideH: p.strideH, strideW: p.strideW,
  padT: p.padT, padL: p.padL, dilH: p.dilH, dilW: p.dilW, groups: p.groups, og: perGroup(p).og, pixels: pixelsOf(p), k: convK(p),
  tapBytes: perGroup(p).cg * elementBytes(p), pixelBytes: p.inC * elementBytes(p), outPixelBytes: p.outC << outShift(p),
  xZero: p.kind === 'int' ? p.xZero : 0, lo: p.lo, hi: p.hi,
});

function depthwiseNumbers(isa: Isa, p: ConvParams): CallNumbers {
  const k = convK(p);
  const kp = alignUp(p.groups, 8);
  const acc = kp * 4;
  if (p.kind === 'int') {
    const values = { ...geometry(p), kp, tileRow: kp * 2, steps: 2 * depthwiseLanes(isa, 'int8') };
    return { regions: { panels: alignUp(k, 8) * kp * 2, acc }, values };
  }
  const lanes = depthwiseLanes(isa, 'f32');
  return { regions: { acc }, values: { ...geometry(p), tileRow: 4 * lanes, steps: 4 * lanes * k } };
}

const outputs = (p: ConvParams): number => pixelsOf(p) * p.outC;
const weights = (p: ConvParams): number => p.outC * convK(p);

/** 4.5 MACs a ns, 1 without SIMD: bound by loads and the epilogue. */
const depthwiseCost = (isa: Isa, p: ConvParams): number => convMacs(p) / (isa === 'simd128' ? 4.5 : 1) + weights(p) + outputs(p);

const name = (kernel: string, p: ConvParams, isa: Isa): string => `${kernel}_${p.output}__${isa}`;
const ISAS: readonly Isa[] = ['simd128', 'scalar'];

const DEPTHWISE: readonly WasmVariant[] = ISAS.flatMap((isa) => {
  const simd = isa === 'simd128';
  return [
    variant({
      name: `depthwise__${isa}`,
      kernel: 'depthwise',
      isa,
      accepts: (p) => p.kind === 'int' && isDepthwise(p),
      cost: (p) => depthwiseCost(isa, p),
      packing: integerPacking,
      symbol: (p) => name(`depthwise_w${p.weightBits}`, p, isa),
      functions: (p) =>
        depthwiseFunctions(name(`depthwise_w${p.weightBits}`, p, isa), {
          prepare: unpack(isa, p.weightBits!, 'taps'),
          pixel: depthwisePixel(isa, 'int8'),
          lanes: depthwiseLanes(isa, 'int8'),
          epilogue: epilogue(isa, epilogueKind(p)),
        }),
      numbers: (p) => depthwiseNumbers(isa, p),
    }),
    variant({
      name: `f32_depthwise__${isa}`,
      kernel: 'f32',
      isa,
      accepts: (p) => p.kind === 'f32' && isDepthwise(p),
      cost: (p) => depthwiseCost(isa, p),
      packing: () => (simd ? 'panel4' : 'f32'),
      symbol: () => `f32_depthwise__${isa}`,
      functions: () =>
        depthwiseFunctions(`f32_depthwise__${isa}`, {
          prepare: null, pixel: depthwisePixel(isa, 'f32'), lanes: depthwiseLanes(isa, 'f32'), epilogue: epilogue(isa, 'bias'),
        }),
      numbers: (p) => depthwiseNumbers(isa, p),
    }),
  ];
});

/** All variants. The scalar ones accept everything of their kind, so that the choice never fails. */
export const WASM_VARIANTS: readonly WasmVariant[] = [...DEPTHWISE, ...FAMILIES.map(familyVariant)];

/** Instruction sets that a module may use: `wasm-scalar` none, `wasm-relaxed` all, any other target SIMD128. */
export function isasOf(target: string): readonly Isa[] {
  if (target === 'wasm-scalar') return ['scalar'];
  return target === 'wasm-relaxed' ? ['relaxed', 'simd128', 'scalar'] : ['simd128', 'scalar'];
}

/** The variants that a target may use. */
export const variantsFor = (target: string): readonly WasmVariant[] => WASM_VARIANTS.filter((v) => isasOf(target).includes(v.isa));
