/** The convolution kernels of the C backend: when each applies, what it costs, and how its template is filled. */
import { type Plan, type VariantCost, type VariantFilter, makePlan } from '@bitloom/codegen';
import { type ConvParams, type Program, convK } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { type CIsa, ISAS } from './isa.js';
import { AVX2_VARIANTS } from './families/avx2.js';
import { AVX512_VARIANTS } from './families/avx512.js';
import { F32_VARIANTS } from './families/f32-x86.js';
import { lut16 } from './families/lut16.js';
import { mul64, mul64Depthwise } from './families/mul64.js';
import { NEON_VARIANTS } from './families/neon.js';
import { swar } from './families/swar.js';
import { type CVariant, intBits, isDepthwise, packingOf, positionsOf, resultOf, suffix, template, up64, upto } from './variant.js';

export type { CVariant } from './variant.js';

// ---- common code

interface CommonView {
  gather: boolean;
  popcount: boolean;
  unpack: boolean;
  scaled: boolean;
  codes: boolean;
}
const renderCommon = template<CommonView>('common.c.hbs');

interface Sum {
  readonly name: string;
  readonly pixel: number;
  readonly channel: number;
}
interface Tile {
  readonly tile: number;
  readonly channels: number[];
  readonly sums: Sum[];
  readonly pixels: { readonly pixel: number; readonly sums: Sum[] }[];
}
function tileView(tile: number): Tile {
  const pixels = upto(tile).map((pixel) => ({ pixel, sums: upto(4).map((channel) => ({ name: `s${pixel}_${channel}`, pixel, channel })) }));
  return { tile, channels: upto(4), sums: pixels.flatMap((p) => p.sums), pixels };
}
const renderDot = template<{ tiles: Tile[] }>('int8_dot.c.hbs');

/** Types and functions shared by the kernels of the given calls; empty without any. */
export function commonCode(uses: readonly { readonly variant: CVariant; readonly params: ConvParams }[]): string {
  if (!uses.length) return '';
  const needs = new Set(uses.flatMap((u) => u.variant.needs));
  const codes = uses.some((u) => u.params.output === 'codes');
  const common = renderCommon({
    gather: needs.has('gather'),
    popcount: needs.has('popcount'),
    unpack: uses.some((u) => u.variant.needs.includes('unpack') && u.params.weightBits !== 8),
    scaled: uses.some((u) => u.params.kind === 'int'),
    codes,
  });
  return needs.has('dot') ? common + renderDot({ tiles: [tileView(1), tileView(INT8_TILE)] }) : common;
}

// ---- int8

const INT8_TILE = 2;
const GATHER_NS = 10;
const GATHER_BYTE_NS = 0.03;
const UNPACK_NS = 0.08;

interface Int8View {
  symbol: string;
  w: Bits;
  type: string;
  epilogue: string;
  tile: number;
  planes: boolean;
  columns: string;
}
const renderInt8 = template<Int8View>('int8.c.hbs');
const int8Symbol = (p: ConvParams): string => `int8_w${p.weightBits}_${suffix(p)}`;
const unpackNs = (p: ConvParams): number => (p.weightBits === 8 ? 0 : p.outC * convK(p) * p.weightBits! * UNPACK_NS);

const int8: CVariant = {
  name: 'int8', kernel: 'int8', isa: 'portable', signature: 'int', needs: ['gather', 'unpack', 'dot'],
  accepts: (p) => p.kind === 'int',
  packing: packingOf,
  prepared: () => 0,
  scratch: (p) => INT8_TILE * up64(convK(p)) + (p.weightBits === 8 ? 0 : p.outC * convK(p) + 64),
  symbol: int8Symbol,
  cost: (p) => {
    const k = convK(p);
    const blocks = p.groups * Math.ceil(p.outC / p.groups / 4);
    return unpackNs(p) + positionsOf(p) * (p.groups * (GATHER_NS + k * GATHER_BYTE_NS) + p.outC * 2.5 + blocks * 4 * k * 0.31);
  },
  render: (p) => renderInt8({
    symbol: int8Symbol(p), w: intBits(p).w, ...resultOf(p), tile: INT8_TILE, planes: p.weightBits !== 8,
    columns: upto(INT8_TILE).map((t) => (t === 0 ? 'scratch' : `scratch + ${t === 1 ? '' : `${t} * `}stride`)).join(', '),
  }),
};

// ---- depthwise, integer and f32

interface DepthwiseView {
  symbol: string;
  float: boolean;
  planes: boolean;
  w: number;
  xType: string;
  wType: string;
  wStored: string;
  accType: string;
  type: string;
  epilogue: string;
}
const renderDepthwise = template<DepthwiseView>('depthwise.c.hbs');
const depthwiseNs = (p: ConvParams): number => positionsOf(p) * (5 + p.kH * p.kW * (2 + p.inC * 0.75) + p.inC * 2.5);
const depthwiseSymbol = (p: ConvParams): string => `depthwise_w${p.weightBits}_${suffix(p)}`;

const depthwise: CVariant = {
  name: 'depthwise', kernel: 'depthwise', isa: 'portable', signature: 'depthwise', needs: ['unpack'],
  accepts: (p) => p.kind === 'int' && isDepthwise(p),
  packing: packingOf,
  prepared: () => 0,
  scratch: (p) => p.inC * p.kH * p.kW * (p.weightBits === 8 ? 1 : 2) + 64,
  symbol: depthwiseSymbol,
  cost: (p) => unpackNs(p) + depthwiseNs(p),
  render: (p) => renderDepthwise({
    symbol: depthwiseSymbol(p), float: false, planes: p.weightBits !== 8, w: intBits(p).w,
    xType: 'uint8_t', wType: 'int8_t', wStored: 'uint8_t', accType: 'int32_t', ...resultOf(p),
  }),
};

const f32Depthwise: CVariant = {
  name: 'f32_depthwise', kernel: 'depthwise', isa: 'portable', signature: 'f32-scratch', needs: [],
  accepts: (p) => p.kind === 'f32' && isDepthwise(p),
  packing: packingOf,
  prepared: () => 0,
  scratch: (p) => p.inC * p.kH * p.kW * 4,
  symbol: () => 'depthwise_f32',
  cost: depthwiseNs,
  render: () => renderDepthwise({
    symbol: 'depthwise_f32', float: true, planes: false, w: 32, xType: 'float', wType: 'float', wStored: 'float', accType: 'float', type: 'float', epilogue: '',
  }),
};

// ---- f32

/** Registers hold sums of so many positions of one panel, or of one position (at borders) and so many panels. */
const PANEL_TILE = 8;
const PANELS = 4;
interface PanelSum {
  readonly name: string;
  readonly pixel: number;
  readonly panel: number;
  /** Index into acc[pixel]. */
  readonly to: string;
}
interface PanelTile {
  readonly all: number;
  /** One panel, whose index is a parameter. */
  readonly one: boolean;
  readonly pixels: number;
  readonly panels: number;
  readonly sums: PanelSum[];
  readonly columns: { readonly panel: number; readonly sums: PanelSum[] }[];
}
function panelTile(pixels: number, panels: number): PanelTile {
  const columns = upto(panels).map((panel) => ({
    panel, sums: upto(pixels).map((pixel) => ({ name: `s${pixel}_${panel}`, pixel, panel, to: panels === 1 ? 'q' : `${panel}` })),
  }));
  return { all: PANELS, one: panels === 1, pixels, panels, sums: columns.flatMap((c) => c.sums), columns };
}
const renderPanel4 = template<{ symbol: string; tile: number; panels: number; tiles: PanelTile[] }>('f32_panel4.c.hbs');
const f32Panel4: CVariant = {
  name: 'f32_panel4', kernel: 'f32', isa: 'portable', signature: 'f32', needs: [],
  accepts: (p) => packingOf(p) === 'panel4',
  packing: packingOf,
  prepared: () => 0,
  scratch: () => 0,
  symbol: () => 'f32_panel4',
  cost: (p) => positionsOf(p) * (10 + Math.ceil(p.outC / 4) * (10 + convK(p) * 0.3)),
  render: () => renderPanel4({ symbol: 'f32_panel4', tile: PANEL_TILE, panels: PANELS, tiles: [panelTile(1, PANELS), panelTile(PANEL_TILE, 1)] }),
};

const renderF32 = template<{ symbol: string }>('f32.c.hbs');
const f32: CVariant = {
  name: 'f32', kernel: 'f32', isa: 'portable', signature: 'f32', needs: [],
  accepts: (p) => packingOf(p) === 'f32',
  packing: packingOf,
  prepared: () => 0,
  scratch: () => 0,
  symbol: () => 'f32_direct',
  cost: (p) => positionsOf(p) * p.outC * (5 + convK(p) * 1.2),
  render: () => renderF32({ symbol: 'f32_direct' }),
};

/** Every kernel of the C backend; `int8` accepts all integer parameters, `f32_panel4` and `f32` together all others. */
export const C_VARIANTS: readonly CVariant[] = [
  depthwise, mul64Depthwise, int8, lut16, mul64, swar, f32Depthwise, f32Panel4, f32, ...AVX2_VARIANTS, ...AVX512_VARIANTS, ...F32_VARIANTS, ...NEON_VARIANTS,
  // What a part of a call needs is what a call of its size does.
].map((v) => ({ ...v, scratch: (p, part = p) => v.scratch(part) }));

/** Kernels that code for an instruction set may use: its own, and those it includes. */
export const cVariantsFor = (isa: CIsa): readonly CVariant[] =>
  C_VARIANTS.filter((v) => v.isa === isa || v.isa === 'portable' || (v.isa === 'avx2' && isa === 'avx512'));

export interface CPlanOptions {
  readonly isas?: readonly CIsa[];
  readonly filter?: VariantFilter;
  /** Measured costs; those of the kernels themselves where there are none. */
  readonly cost?: (isa: CIsa) => VariantCost | undefined;
  /** Threads that calls are split for; default 1. */
  readonly threads?: number;
}

/**
 * A plan per instruction set, `portable` first; {@link Plan.target} names the set. All have the same packed weights.
 * @throws E601 when no variant accepts a call
 */
export const planC = (program: Program, { isas = ISAS.map((i) => i.name), filter, cost, threads }: CPlanOptions = {}): readonly Plan[] =>
  isas.map((isa) => makePlan(program, { target: isa, variants: cVariantsFor(isa), filter, cost: cost?.(isa), threads }));

/** Arena bytes that suffice for every instruction set. */
export const arenaBytes = (plans: readonly Plan[]): number => Math.max(...plans.map((p) => p.arenaBytes));
