/** From a plan to a WebAssembly module: one function per kernel symbol and per distinct nest, one wrapper per call. */
import { fail } from '@bitloom/diagnostics';
import type wabtInit from 'wabt';
import { type Location, type Plan, alignUp } from '@bitloom/codegen';
import { type Uses, printNest, supportFunctions } from './print-nest.js';
import { type WasmVariant, isasOf } from './variants.js';

/** Where the regions of a plan lie in the module's memory, and its size in pages of 64 KiB. */
export interface MemoryLayout {
  readonly weightsBase: number;
  readonly preparedBase: number;
  readonly descriptorsBase: number;
  readonly arenaBase: number;
  readonly pages: number;
}

export interface EmittedWasm {
  /**
   * Exports `memory`, `prepare()`, `run()` (all calls) and `step(i)` (call i); imports nothing, never grows. Packed weights are not
   * inside: the first `packedBytes` of the plan's weights must be copied to `weightsBase` once, and `prepare()` be called then, before
   * the first run. The other constants are data segments.
   */
  readonly wasm: Uint8Array;
  readonly wat: string;
  readonly layout: MemoryLayout;
}

const PAGE = 65536;
/** Kernels may load that many bytes past the arena. */
const LOAD_SLACK = 1024;
/** Cache lines; also keeps addresses from being zero. */
const REGION_ALIGNMENT = 64;
const MAX_PAGES = 65536;

/** Base addresses and size, with room for descriptors of calls. @throws E601 when everything exceeds 4 GiB */
function memoryLayout(plan: Plan, descriptorBytes: number): MemoryLayout {
  const weightsBase = REGION_ALIGNMENT;
  const preparedBase = alignUp(weightsBase + plan.weights.length, REGION_ALIGNMENT);
  const descriptorsBase = alignUp(preparedBase + plan.preparedBytes, REGION_ALIGNMENT);
  const arenaBase = alignUp(descriptorsBase + descriptorBytes, REGION_ALIGNMENT);
  const pages = Math.ceil((arenaBase + plan.arenaBytes + LOAD_SLACK) / PAGE);
  if (pages >= MAX_PAGES) {
    fail('E601', 'the network needs more memory than WebAssembly has', {
      found: `${pages * PAGE} bytes`, expected: 'less than 4 GiB', remedy: 'reduce the batch or the input size',
    });
  }
  return { weightsBase, preparedBase, descriptorsBase, arenaBase, pages };
}

export const addressOf = (layout: MemoryLayout, l: Location): number => layout[`${l.region}Base`] + l.offset;

/** Bytes that are in memory from the start; trailing zeros are there anyway. */
function dataSegment(address: number, bytes: Uint8Array): string {
  let n = bytes.length;
  while (n > 0 && bytes[n - 1] === 0) n--;
  const text = Array.from(bytes.subarray(0, n), (b) => `\\${b.toString(16).padStart(2, '0')}`).join('');
  return n === 0 ? '' : `(data (i32.const ${address}) "${text}")`;
}

/** The module's text. Deterministic. @throws E901 for variants of another backend or instruction set */
export function emitWat(plan: Plan): { readonly wat: string; readonly layout: MemoryLayout } {
  const isas = isasOf(plan.target);
  const simd = isas.includes('simd128');
  const functions = new Map<string, string>();
  const nests = new Map<string, string>();
  const uses: Uses = new Set();

  let descriptorBytes = 0;
  const convs = plan.calls.map((c) => {
    if (c.call.family !== 'conv') return null;
    const { params, origin } = c.call;
    const variant = c.variant as WasmVariant;
    if (!variant.code || !isas.includes(variant.isa)) {
      fail('E901', 'a kernel variant of another target', { node: origin, found: variant.name, expected: plan.target });
    }
    if (c.args[1].region !== 'weights') fail('E601', 'the weights of a convolution must be constant', { node: origin });
    if (params.batch * params.outH * params.outW * params.outC === 0) return null;
    const code = variant.code(params);
    for (const f of code.functions) if (!functions.has(f.name)) functions.set(f.name, f.text());
    const offset = descriptorBytes;
    descriptorBytes += alignUp(code.descriptorBytes);
    return { code, params, variant, offset };
  });
  const layout = memoryLayout(plan, descriptorBytes);
  const descriptorAt = (offset: number): string => `(i32.const ${layout.descriptorsBase + offset})`;
  const descriptors = convs.map((k, i) => {
    if (!k) return '';
    const { args, results, scratch, prepared } = plan.calls[i];
    const words = k.variant.descriptor(k.params, {
      args: args.map((a) => addressOf(layout, a)),
      result: addressOf(layout, results[0]),
      scratch: scratch ? addressOf(layout, scratch) : 0,
      prepared: prepared ? addressOf(layout, prepared) : 0,
    });
    return dataSegment(layout.descriptorsBase + k.offset, new Uint8Array(words.buffer));
  });

  const nestName = (text: string): string => {
    let name = nests.get(text);
    if (!name) nests.set(text, (name = `nest${nests.size}`));
    return name;
  };
  const calls = plan.calls.map((c, i) => {
    const conv = convs[i];
    if (c.call.family === 'conv') return conv ? `(call $${conv.code.run} ${descriptorAt(conv.offset)})` : '';
    const name = nestName(printNest(c.call.params, simd, uses));
    return `(call $${name} ${[...c.args, ...c.results].map((a) => `(i32.const ${addressOf(layout, a)})`).join(' ')})`;
  });
  const preparations = plan.preparations.flatMap((i) => {
    const conv = convs[i];
    return conv?.code.prepare ? [`  (call $${conv.code.prepare} ${descriptorAt(conv.offset)})`] : [];
  });

  const n = calls.length;
  const wat = [
    '(module',
    `(memory (export "memory") ${layout.pages} ${layout.pages})`,
    dataSegment(layout.weightsBase + plan.packedBytes, plan.weights.subarray(plan.packedBytes)),
    ...descriptors.filter(Boolean),
    `(table funcref (elem${calls.map((_, i) => ` $call${i}`).join('')}))`,
    ...supportFunctions(uses),
    ...[...nests].map(([text, name]) => `(func $${name}${text}`),
    ...functions.values(),
    ...calls.map((call, i) => `;; ${plan.calls[i].call.origin.replace(/[^\w ./:-]/g, '?')}\n(func $call${i} ${call})`),
    `(func (export "prepare")`,
    ...preparations,
    ')',
    `(func $step (export "step") (param $i i32) (call_indirect (local.get $i)))`,
    `(func (export "run") (local $i i32)`,
    `  (block $done (loop $next`,
    `    (br_if $done (i32.ge_u (local.get $i) (i32.const ${n})))`,
    `    (call $step (local.get $i))`,
    `    (local.set $i (i32.add (local.get $i) (i32.const 1)))`,
    `    (br $next))))`,
    ')',
    '',
  ].join('\n');
  return { wat, layout };
}

let loaded: ReturnType<typeof wabtInit> | null = null;
/** The assembler, loaded once, on first use. */
const loadWabt = (): ReturnType<typeof wabtInit> => (loaded ??= import('wabt').then((m) => m.default()));

/** Assembles text. @throws E603 with wabt's message and the line it is about */
export async function assemble(wat: string): Promise<Uint8Array> {
  const wabt = await loadWabt();
  try {
    const module = wabt.parseWat('module.wat', wat, { simd: true, relaxed_simd: true, sat_float_to_int: true, sign_extension: true, mutable_globals: true });
    try {
      module.validate();
      return module.toBinary({ write_debug_names: false }).buffer;
    } finally {
      module.destroy();
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const [, line, what] = /module\.wat:(\d+):\d+: (.*)/.exec(message) ?? [];
    const found = line ? `line ${line}: ${wat.split('\n')[Number(line) - 1].trim()}` : undefined;
    fail('E603', `wabt rejected generated code: ${what ?? message}`, { found }, error);
  }
}

/**
 * Compiles a plan for the target `wasm` (SIMD128), `wasm-relaxed` (relaxed SIMD too) or `wasm-scalar` (no SIMD instruction at all).
 * @throws E601 when memory exceeds 4 GiB, E603 when wabt rejects the code
 */
export async function emitWasm(plan: Plan): Promise<EmittedWasm> {
  const { wat, layout } = emitWat(plan);
  return { wasm: await assemble(wat), wat, layout };
}
