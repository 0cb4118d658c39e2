/** The kernel variants of WebAssembly: what each accepts, costs, needs, and the functions it is made of. */
import { type KernelVariant, alignUp } from '@bitloom/codegen';
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import {
  CONV_PARAMS, type ConvParam, type EpilogueKind, PANEL_STEP, bitserialTile, convFunctions, depthwiseFunctions,
  depthwiseLanes, depthwisePixel, epilogue, gather, packActivations, panelTile, scalarTile, unpack, weightSums, widen,
} from './kernels.js';
import { type Isa, type WasmFunction, integerPacking } from './family.js';

/** Scratch regions of a call, by the parameter that takes their address. */
const REGIONS = ['codes', 'patch', 'panels', 'acc', 'sums'] as const;
type Region = (typeof REGIONS)[number];

/** Numbers of one call: bytes of each scratch region, and every parameter that is not an address. */
interface CallNumbers {
  readonly regions: Readonly<Partial<Record<Region, number>>>;
  readonly values: Readonly<Partial<Record<ConvParam, number>>>;
}

export interface WasmVariant extends KernelVariant {
  readonly isa: Isa;
  /** Functions of the call's symbol, the one to call first. */
  functions(p: ConvParams): readonly WasmFunction[];
  /** Arguments in the order of CONV_PARAMS, given the addresses of operands and scratch. */
  arguments(p: ConvParams, at: { readonly args: readonly number[]; readonly result: number; readonly scratch: number }): number[];
}

type Definition = Omit<WasmVariant, 'scratch' | 'prepared' | 'arguments'> & { numbers(p: ConvParams): CallNumbers };

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
    arguments: (p, { args, result, scratch }) => {
      const { at } = offsets(p);
      const operands = { x: args[0], w: args[1], scale: args[2], offset: args[3] ?? 0, y: result };
      const values: Partial<Record<ConvParam, number>> = { ...d.numbers(p).values, ...operands };
      for (const r of REGIONS) values[r] = scratch + at[r]!;
      return CONV_PARAMS.map((name) => values[name] ?? 0);
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
/** Bytes of one packed weight row. */
const planesRow = (p: ConvParams): number => p.weightBits! * Math.ceil(convK(p) / 8);
const integerRow = (p: ConvParams): number => (p.weightBits! < 8 ? planesRow(p) : convK(p));

const geometry = (p: ConvParams): Partial<Record<ConvParam, number>> => ({
  inH: p.inH, inW: p.inW, outH: p.outH, outW: p.outW, kH: p.kH, kW: p.kW, strideH: p.strideH, strideW: p.strideW,
  padT: p.padT, padL: p.padL, dilH: p.dilH, dilW: p.dilW, groups: p.groups, og: perGroup(p).og, pixels: pixelsOf(p), k: convK(p),
  tapBytes: perGroup(p).cg * elementBytes(p), pixelBytes: p.inC * elementBytes(p), outPixelBytes: p.outC << outShift(p),
  xZero: p.kind === 'int' ? p.xZero : 0, lo: p.lo, hi: p.hi,
});

/** Pixels of a block so that its patches stay in the first-level cache. */
function pixelBlock(p: ConvParams, patchBytes: number): number {
  const fit = Math.floor(16384 / patchBytes / 4) * 4;
  return Math.min(Math.max(fit, 4), 64, Math.max(pixelsOf(p), 1));
}

/** The over-write of the gather function. */
const GATHER_SLACK = 16;
/** Widest tile in pixels: that many rows of accumulators. */
const TILE_PIXELS = 4;

function int8Numbers(isa: Isa, p: ConvParams): CallNumbers {
  const kp = alignUp(Math.max(convK(p), 1));
  const { og } = perGroup(p);
  const sizes = (cb: number, pb: number): Partial<Record<Region, number>> => ({
    codes: pb * kp + GATHER_SLACK,
    patch: pb * kp * 2,
    panels: alignUp(cb, 4) * kp * 2,
    acc: TILE_PIXELS * alignUp(cb, 8) * 4,
  });
  const total = (r: Partial<Record<Region, number>>): number => Object.values(r).reduce((a, b) => a + b, 0);
  // All channels unpacked at once, or all patches gathered at once.
  const pb = pixelBlock(p, kp * 2);
  let [channels, pixels] = [og, pb];
  if (og > 32 && total(sizes(32, pixelsOf(p))) < total(sizes(og, pb))) [channels, pixels] = [32, Math.max(pixelsOf(p), 1)];
  return {
    regions: sizes(channels, pixels),
    values: {
      ...geometry(p), kp, codeStride: kp, patchStride: kp * 2, wRow: integerRow(p), tileRow: kp * 2, accStride: alignUp(channels, 8) * 4,
      steps: kp / (isa === 'simd128' ? PANEL_STEP.int8 : 2), cb: channels, pb: pixels,
    },
  };
}

/** Elements of a patch in whole v128 words of planes. */
const bitserialK = (p: ConvParams): number => alignUp(Math.max(convK(p), 1), 128);

function bitserialNumbers(p: ConvParams): CallNumbers {
  const kp = bitserialK(p);
  const { og } = perGroup(p);
  const patchStride = (p.activationBits! * kp) / 8;
  const pb = pixelBlock(p, kp + patchStride);
  return {
    regions: {
      codes: pb * kp + GATHER_SLACK, patch: pb * patchStride, panels: alignUp(og, 4) * 4, acc: TILE_PIXELS * alignUp(og, 8) * 4, sums: pb * 4,
    },
    values: {
      ...geometry(p), kp, codeStride: kp, patchStride, wRow: planesRow(p), tileRow: planesRow(p), accStride: alignUp(og, 8) * 4,
      steps: kp / 8, cb: og, pb,
    },
  };
}

function floatNumbers(p: ConvParams): CallNumbers {
  const k = convK(p);
  const { og } = perGroup(p);
  const stride = alignUp(Math.max(k * 4, 1));
  const pb = pixelBlock(p, stride);
  return {
    regions: { codes: pb * stride + GATHER_SLACK, acc: TILE_PIXELS * alignUp(og, 8) * 4 },
    values: { ...geometry(p), kp: k, codeStride: stride, patchStride: stride, tileRow: k * 4, accStride: alignUp(og, 8) * 4, steps: k, cb: og, pb },
  };
}

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

// ---- costs in ns, fitted to timings of these kernels on x86-64 in Node 20 (see the comment at each rate)

const outputs = (p: ConvParams): number => pixelsOf(p) * p.outC;
const weights = (p: ConvParams): number => p.outC * convK(p);
/** Rows of patches, and the elements they hold. */
const patches = (p: ConvParams): number => pixelsOf(p) * p.groups;
const gathered = (p: ConvParams): number => patches(p) * convK(p);
/** Work of tiles that are `channels` wide, whatever part of them is used. */
const tileMacs = (p: ConvParams, channels: number): number => gathered(p) * alignUp(perGroup(p).og, channels);

/** 30 MACs a ns in tiles of 4 pixels × 8 channels (a third for single pixels), 2.8 without SIMD; weights are unpacked anew for each call. */
function int8Cost(isa: Isa, p: ConvParams): number {
  const bits = p.weightBits!;
  if (isa === 'scalar') return tileMacs(p, 4) / 2.8 + 0.6 * gathered(p) + 40 * patches(p) + (0.5 + 0.4 * bits) * weights(p) + 3 * outputs(p);
  const rate = pixelsOf(p) < 4 ? 10 : 30;
  const unpacking = bits === 8 ? 0.1 : 0.15 + 0.04 * bits;
  return tileMacs(p, 8) / rate + 0.15 * gathered(p) + 15 * patches(p) + unpacking * weights(p) + 0.5 * outputs(p);
}

/**
 * 130 one-bit products a ns, whatever the lane width: popcnt is one instruction on i64, ten on v128. Each pair of planes costs half
 * a word more.
 */
function bitserialCost(isa: Isa, p: ConvParams): number {
  const kp = bitserialK(p);
  const products = patches(p) * alignUp(perGroup(p).og, 4) * p.weightBits! * p.activationBits! * (kp + 64);
  const packed = patches(p) * kp;
  const [rate, gather, plane, output] = isa === 'simd128' ? [130, 0.1, 0.1, 1] : [120, 0.3, 0.15, 4];
  return products / rate + (gather + plane * p.activationBits!) * packed + 0.05 * p.weightBits! * weights(p) + output * outputs(p);
}

/** 15 MACs a ns (half for single pixels), 3 without SIMD. */
const floatCost = (isa: Isa, p: ConvParams): number =>
  isa === 'simd128'
    ? tileMacs(p, 8) / (pixelsOf(p) < 4 ? 7 : 15) + 0.3 * gathered(p) + 15 * patches(p) + 0.5 * outputs(p)
    : tileMacs(p, 4) / 3 + 0.8 * gathered(p) + 40 * patches(p) + 3 * outputs(p);

/** 4.5 MACs a ns, 1 without SIMD: bound by loads and the epilogue. */
const depthwiseCost = (isa: Isa, p: ConvParams): number => convMacs(p) / (isa === 'simd128' ? 4.5 : 1) + weights(p) + outputs(p);

const name = (kernel: string, p: ConvParams, isa: Isa): string => `${kernel}_${p.output}__${isa}`;
const ISAS: readonly Isa[] = ['simd128', 'scalar'];

/** All variants. The scalar ones accept everything of their kind, so that the choice never fails. */
export const WASM_VARIANTS: readonly WasmVariant[] = ISAS.flatMap((isa) => {
  const simd = isa === 'simd128';
  const gatherTo = gather(isa);
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
      name: `bitserial__${isa}`,
      kernel: 'bitserial',
      isa,
      accepts: (p) => p.kind === 'int',
      cost: (p) => bitserialCost(isa, p),
      packing: () => 'planes',
      symbol: (p) => name(`bitserial_w${p.weightBits}a${p.activationBits}`, p, isa),
      functions: (p) =>
        convFunctions(name(`bitserial_w${p.weightBits}a${p.activationBits}`, p, isa), {
          prepare: weightSums(p.weightBits!),
          gather: gatherTo,
          convert: packActivations(isa, p.activationBits!),
          tiles: (simd ? [2, 1] : [1]).map((n) => bitserialTile(isa, p.weightBits!, p.activationBits!, n)),
          tileChannels: 4,
          panelTiles: false,
          tailIsZeroPoint: false,
          epilogue: epilogue(isa, epilogueKind(p)),
          outShift: outShift(p),
        }),
      numbers: bitserialNumbers,
    }),
    variant({
      name: `int8__${isa}`,
      kernel: 'int8',
      isa,
      accepts: (p) => p.kind === 'int',
      cost: (p) => int8Cost(isa, p),
      packing: integerPacking,
      symbol: (p) => name(`int8_w${p.weightBits}`, p, isa),
      functions: (p) =>
        convFunctions(name(`int8_w${p.weightBits}`, p, isa), {
          prepare: unpack(isa, p.weightBits!, 'panels'),
          gather: gatherTo,
          convert: widen(isa),
          tiles: simd ? [panelTile('int8', 4), panelTile('int8', 1)] : [scalarTile('int8')],
          tileChannels: simd ? 8 : 4,
          panelTiles: true,
          tailIsZeroPoint: true,
          epilogue: epilogue(isa, epilogueKind(p)),
          outShift: outShift(p),
        }),
      numbers: (p) => int8Numbers(isa, p),
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
    variant({
      name: `f32__${isa}`,
      kernel: 'f32',
      isa,
      // A panel of four channels must lie in one group.
      accepts: (p) => p.kind === 'f32' && (!simd || p.groups === 1 || perGroup(p).og % 4 === 0),
      cost: (p) => floatCost(isa, p),
      packing: () => (simd ? 'panel4' : 'f32'),
      symbol: () => `f32__${isa}`,
      functions: () =>
        convFunctions(`f32__${isa}`, {
          prepare: null,
          gather: gatherTo,
          convert: null,
          tiles: simd ? [panelTile('f32', 4), panelTile('f32', 1)] : [scalarTile('f32')],
          tileChannels: simd ? 8 : 4,
          panelTiles: false,
          tailIsZeroPoint: false,
          epilogue: epilogue(isa, 'bias'),
          outShift: 2,
        }),
      numbers: floatNumbers,
    }),
  ];
});

/** The variants that a target may use: `wasm` all, `wasm-scalar` those without SIMD. */
export const variantsFor = (target: string): readonly WasmVariant[] =>
  target === 'wasm-scalar' ? WASM_VARIANTS.filter((v) => v.isa === 'scalar') : WASM_VARIANTS;
