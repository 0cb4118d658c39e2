/** Targets: the code that each is made of, its kernel variants, and what calls cost on it. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { ISAS, cVariantsFor } from '@bitloom/backend-c';
import { variantsFor } from '@bitloom/backend-wasm';
import { type CostModel, CostTable, type KernelVariant, type Plan, type VariantFilter, costModel, makePlan, parseCostTable } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import type { ConvParams, Program } from '@bitloom/kernel-spec';
import type { TargetName } from './options.js';

/** Name under which cost tables keep times of a target. */
export type Backend = 'wasm' | 'wasm-scalar' | 'c';

/** Code for one instruction set; a target has one or more, and the best that the machine can run is chosen there. */
export interface Flavour {
  /** In reports: the target, with the instruction set where it is not the target's plainest. */
  readonly label: string;
  readonly backend: Backend;
  /** {@link Plan.target} of its plans. */
  readonly isa: string;
  readonly variants: readonly KernelVariant[];
}

/** Plainest first. */
export function flavoursOf(target: TargetName): readonly [Flavour, ...Flavour[]] {
  const wasm = (isa: TargetName, label: string = isa): Flavour =>
    ({ label, backend: isa === 'wasm-scalar' ? isa : 'wasm', isa, variants: variantsFor(isa) });
  if (target === 'wasm') return [wasm('wasm-simd128', 'wasm'), wasm('wasm-relaxed')];
  if (target !== 'c') return [wasm(target)];
  const flavours: Flavour[] = ISAS.map(({ name }, i) => ({ label: i ? `c-${name}` : 'c', backend: 'c', isa: name, variants: cVariantsFor(name) }));
  return flavours as [Flavour, ...Flavour[]];
}

const defaults = new Map<Backend, CostTable>();
/** Fits to measurements on one machine, which serve where the user has none. */
export function defaultCosts(backend: Backend): CostTable {
  let table = defaults.get(backend);
  if (!table) {
    const file = new URL(`../costs/${backend}.json`, import.meta.url);
    defaults.set(backend, (table = parseCostTable(readFileSync(file, 'utf8'), `${backend}.json`)));
  }
  return table;
}

/** @throws E704 when the file cannot be read, E503 when it is no cost table */
export async function readCosts(file: string): Promise<CostTable> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) =>
    fail('E704', 'cost table cannot be read', { node: file, found: cause.code, remedy: 'make one with bitloom tune -o' }, cause));
  return parseCostTable(text, file);
}

/** Costs of a backend. @param user a table that goes before the shipped one */
export const costsOf = (backend: Backend, user: CostTable | null): CostModel => costModel(backend, [...(user ? [user] : []), defaultCosts(backend)]);

/** The kernels to choose from: those that were timed on the call, all where none was. Estimates are no match for measurements. */
export function candidatesOf(f: Flavour, p: ConvParams, costs: CostModel): readonly KernelVariant[] {
  const all = f.variants.filter((v) => v.accepts(p));
  const timed = all.filter((v) => costs.conv(v, p).measured);
  return timed.length > 0 ? timed : all;
}

/** Plan with the cheapest kernels. */
export const planOf = (program: Program, f: Flavour, costs: CostModel, filter?: VariantFilter, threads = 1): Plan =>
  makePlan(program, {
    target: f.isa, threads, variants: f.variants, cost: (v, p) => costs.conv(v, p).ns,
    filter: (v, p) => candidatesOf(f, p, costs).includes(v) && (filter?.(v, p) ?? true),
  });

/** Plans of a program for a target, one for each of {@link flavoursOf}. */
export const plansFor = (program: Program, target: TargetName, user: CostTable | null = null, threads = 1): readonly [Plan, ...Plan[]] =>
  flavoursOf(target).map((f) => planOf(program, f, costsOf(f.backend, user), undefined, threads)) as unknown as readonly [Plan, ...Plan[]];

/** How many times the estimate of the best a kernel's may be before it is not worth timing. */
const HOPELESS = 10;

/** The kernels worth timing on a convolution: all but those whose estimates are far above the best. */
export function contenders(f: Flavour, p: ConvParams): readonly KernelVariant[] {
  const costs = costsOf(f.backend, null);
  const all = f.variants.filter((v) => v.accepts(p)).map((variant) => ({ variant, ns: costs.conv(variant, p).ns }));
  const best = Math.min(...all.map((v) => v.ns));
  return all.filter((v) => v.ns <= HOPELESS * best).map((v) => v.variant);
}

/**
 * The flavour whose times count where one number is asked for: the best one that the user's table has times of, else the plainest.
 */
export function countedFlavour(target: TargetName, user: CostTable | null): Flavour {
  const flavours = flavoursOf(target);
  const measured = (f: Flavour): boolean => f.variants.some((v) => (v.isa === f.isa || `wasm-${v.isa}` === f.isa) && user?.convs.has(`${f.backend} ${v.name}`));
  return [...flavours].reverse().find(measured) ?? flavours[0];
}
