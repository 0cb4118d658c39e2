/** From a plan to a WebAssembly module: one function per kernel symbol and per distinct nest, one wrapper per call. */
import { fail } from '@bitloom/diagnostics';
import { byteSize } from '@bitloom/tensor';
import type wabtInit from 'wabt';
import { type Location, type Plan, alignUp } from '@bitloom/codegen';
import { rendered } from './render.js';
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
   *
   * A plan for several threads: imports `env.memory`, shared, of exactly `pages` pages, and exports two more functions. `worker(t)`
   * makes the calling instance thread t (1 to threads − 1) and never returns; once all of them were called, `start(1)` runs all
   * calls together with them; its argument is 1 where the caller may sleep while it waits, which the main thread of a page must not.
   * `run()` and `step(i)` go on to work alone.
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

/** Words by which threads meet, on cache lines of their own: how many have arrived, meetings so far, runs so far. */
const MEET = { arrived: 64, meetings: 128, runs: 192 };

/** Base addresses and size, with room for descriptors of calls. @throws E601 when everything exceeds 4 GiB */
function memoryLayout(plan: Plan, descriptorBytes: number): MemoryLayout {
  const weightsBase = plan.threads > 1 ? MEET.runs + REGION_ALIGNMENT : REGION_ALIGNMENT;
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

/** What threads run: all calls, each thread its part, meeting between two calls unless both are the first thread's alone. */
function threadFunctions(threads: number, several: readonly boolean[]): string {
  const calls = several.map((own, i) => {
    const last = i === several.length - 1;
    return `  (call $call${i} (global.get $thread))${last || own || several[i + 1] ? ' (call $meet)' : ''}`;
  });
  return rendered('threads', 'threads', { ...MEET, lastThread: threads - 1, calls }).text();
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
    const size = alignUp(code.descriptorBytes);
    descriptorBytes += size * c.parts.length;
    return { code, params, variant, offset, size };
  });
  const layout = memoryLayout(plan, descriptorBytes);
  const descriptorAt = (offset: number): string => `(i32.const ${layout.descriptorsBase + offset})`;
  const descriptors = convs.map((k, i) => {
    if (!k) return '';
    const { args, results, parts, prepared } = plan.calls[i];
    const [x, ...constants] = args.map((a) => addressOf(layout, a));
    const elementBytes = (buffer: number): number => byteSize(plan.program.buffers[buffer].dtype);
    const [xBytes, yBytes] = [elementBytes(plan.calls[i].call.args[0]), elementBytes(plan.calls[i].call.results[0])];
    return parts.map((part, t) => {
      const words = k.variant.descriptor(k.params, {
        args: [x + part.xOffset * xBytes, ...constants],
        result: addressOf(layout, results[0]) + part.yOffset * yBytes,
        scratch: part.scratch ? addressOf(layout, part.scratch) : 0,
        prepared: prepared ? addressOf(layout, prepared) : 0,
      }, part.params);
      return dataSegment(layout.descriptorsBase + k.offset + t * k.size, new Uint8Array(words.buffer));
    }).join('\n');
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
  const { threads } = plan;
  const several = plan.calls.map((c) => c.parts.length > 1);
  const callFunction = (call: string, i: number): string => {
    const comment = `;; ${plan.calls[i].call.origin.replace(/[^\w ./:-]/g, '?')}\n`;
    if (threads === 1) return `${comment}(func $call${i} ${call})`;
    const conv = convs[i];
    if (!conv || !several[i]) return `${comment}(func $call${i} (param $t i32) (if (i32.eqz (local.get $t)) (then ${call})))`;
    const at = `(i32.add (i32.const ${layout.descriptorsBase + conv.offset}) (i32.mul (local.get $t) (i32.const ${conv.size})))`;
    return `${comment}(func $call${i} (param $t i32) (if (i32.lt_u (local.get $t) (i32.const ${plan.calls[i].parts.length})) (then (call $${conv.code.run} ${at}))))`;
  };
  const step = threads === 1 ? ['  (call_indirect (local.get $i))'] : [
    '  (local $t i32)',
    '  (loop $parts',
    '    (call_indirect (param i32) (local.get $t) (local.get $i))',
    `    (br_if $parts (i32.lt_u (local.tee $t (i32.add (local.get $t) (i32.const 1))) (i32.const ${threads}))))`,
  ];
  const memory = `${layout.pages} ${layout.pages}`;
  const wat = [
    '(module',
    ...(threads === 1 ? [`(memory (export "memory") ${memory})`] : [`(import "env" "memory" (memory ${memory} shared))`, '(export "memory" (memory 0))']),
    dataSegment(layout.weightsBase + plan.packedBytes, plan.weights.subarray(plan.packedBytes)),
    ...descriptors.filter(Boolean),
    `(table funcref (elem${calls.map((_, i) => ` $call${i}`).join('')}))`,
    ...supportFunctions(uses),
    ...[...nests].map(([text, name]) => `(func $${name}${text}`),
    ...functions.values(),
    ...calls.map(callFunction),
    `(func (export "prepare")`,
    ...preparations,
    ')',
    `(func $step (export "step") (param $i i32)`,
    ...step,
    ')',
    `(func (export "run") (local $i i32)`,
    `  (block $done (loop $next`,
    `    (br_if $done (i32.ge_u (local.get $i) (i32.const ${n})))`,
    `    (call $step (local.get $i))`,
    `    (local.set $i (i32.add (local.get $i) (i32.const 1)))`,
    `    (br $next))))`,
    ...(threads === 1 ? [] : [threadFunctions(threads, several)]),
    ')',
    '',
  ].join('\n');
  return { wat, layout };
}

let loaded: ReturnType<typeof wabtInit> | null = null;
/** The assembler, loaded once, on first use. */
const loadWabt = (): ReturnType<typeof wabtInit> => (loaded ??= import('wabt').then((m) => m.default()));

const FEATURES = { simd: true, relaxed_simd: true, threads: true, sat_float_to_int: true, sign_extension: true, mutable_globals: true };

/** Assembles text. @throws E603 with wabt's message and the line it is about */
export async function assemble(wat: string): Promise<Uint8Array> {
  const wabt = await loadWabt();
  try {
    const module = wabt.parseWat('module.wat', wat, FEATURES);
    try {
      // Features are an argument that wabt's types leave out.
      (module as { validate(features: typeof FEATURES): void }).validate(FEATURES);
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
