/** Times every call of several plans, in turns: what disturbs the machine disturbs all of them alike. */
import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { ISAS, NO_C_COMPILER, compileC, emitC, findCompiler, planC } from '@bitloom/backend-c';
import { emitWasm } from '@bitloom/backend-wasm';
import type { Plan } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import type { KernelCall } from '@bitloom/kernel-spec';

/** Rounds are made until `seconds` have passed, but at least and at most so many. */
export interface Rounds {
  readonly seconds: number;
  readonly least: number;
  readonly most: number;
  /** That a call finds in the cache what it reads: it is run once more, right before it is timed. Other calls find what the calls before them left. */
  cached(call: KernelCall): boolean;
}

/** ns by plan and call. */
export type Times = readonly (readonly number[])[];

/** Called between rounds; may throw to give up. */
export type Between = () => void;

/** Interruptions only ever add time, so the median is too high on a busy machine; the minimum is too lucky: the lower decile. */
const typical = (samples: readonly number[]): number => [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 10)];

/** A clock that cannot tell less than this. */
const LEAST_NS = 1;
const WARM_UP = 2;

const NO_COMPILER = { found: NO_C_COMPILER, remedy: 'install gcc or clang' };

/** What the times are of. */
export const wasmMachine = (): string => `${cpus()[0]?.model.trim() ?? process.arch}, V8 ${process.versions.v8}`;

/** @throws E603 without a C compiler */
export async function cMachine(): Promise<string> {
  const cc = (await findCompiler()) ?? fail('E603', 'C code cannot be timed here', NO_COMPILER);
  const version = await output(cc, ['--version']);
  return `${cpus()[0]?.model.trim() ?? process.arch}, ${version.toString().split('\n')[0].trim()}`;
}

function output(command: string, args: readonly string[], between: Between = () => {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    let errors = '';
    child.stdout.on('data', (b: Buffer) => chunks.push(b));
    child.stderr.on('data', (b: Buffer) => (errors += b.toString()));
    const watch = setInterval(() => {
      try {
        between();
      } catch (cause) {
        child.kill('SIGKILL');
        reject(cause as Error);
      }
    }, 100);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearInterval(watch);
      if (code === 0) resolve(Buffer.concat(chunks));
      else reject(new Error(`${command}: exit ${signal ?? code} ${errors.slice(0, 2000)}`));
    });
  });
}

/** Calls that take longer may be interrupted in every round; for them the time that this process computed counts, where it is less. */
const LONG_MS = 0.2;

/** ms of computing, in steps of µs; with an argument, since then. */
function cpuTime(since = 0): number {
  if (since === -Infinity) return Infinity;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000 - since;
}

interface WasmExports {
  readonly memory: WebAssembly.Memory;
  prepare(): void;
  step(i: number): void;
}

/** In this process, in code of the optimising compiler alone. @throws E603 where the engine lacks the instructions */
export async function timeWasm(plans: readonly Plan[], rounds: Rounds, between: Between): Promise<Times> {
  setFlagsFromString('--no-liftoff');
  try {
    const lanes: { readonly exports: WasmExports; readonly samples: number[][]; readonly again: readonly boolean[] }[] = [];
    for (const plan of plans) {
      between();
      const { wasm, layout } = await emitWasm(plan);
      const module = await WebAssembly.compile(wasm as BufferSource).catch((cause: Error) => fail('E603', 'this engine cannot run the code to be timed', {
        node: plan.target, found: cause.message, remedy: 'use a newer Node.js, or another target',
      }, cause));
      const exports = (await WebAssembly.instantiate(module, {})).exports as unknown as WasmExports;
      new Uint8Array(exports.memory.buffer).set(plan.weights, layout.weightsBase);
      exports.prepare();
      lanes.push({ exports, samples: plan.calls.map(() => []), again: plan.calls.map((c) => rounds.cached(c.call)) });
    }
    const clock = Math.min(...Array.from({ length: 1000 }, () => -performance.now() + performance.now()).filter((d) => d > 0), 1e-4);
    const long = lanes.map((l) => l.samples.map(() => false));
    const started = performance.now();
    for (let n = -WARM_UP; n < rounds.most && (n < rounds.least || performance.now() - started < rounds.seconds * 1000); n++) {
      lanes.forEach(({ exports, samples, again }, lane) => {
        for (let i = 0; i < samples.length; i++) exports.step(i); // as warm as a network that runs again and again
        for (let i = 0; i < samples.length; i++) {
          if (again[i]) exports.step(i);
          const cpu = long[lane][i] ? cpuTime() : -Infinity;
          const t = performance.now();
          exports.step(i);
          const wall = performance.now() - t;
          if (n >= 0) samples[i].push(Math.max(LEAST_NS, Math.min(wall - clock, cpuTime(cpu)) * 1e6));
          else long[lane][i] = wall > LONG_MS;
        }
      });
      await setImmediate(); // a turn of the event loop, for signals
      between();
    }
    return lanes.map((l) => l.samples.map(typical));
  } finally {
    setFlagsFromString('--liftoff');
  }
}

/** Flags that users build with: instruction sets are chosen at run time. */
const C_FLAGS = ['-std=c99', '-O3', '-ffp-contract=off'];

/** Instruction sets that C code can use here, worst first. @throws E603 without a C compiler */
export async function cIsas(): Promise<string[]> {
  const name = 'isas';
  const emitted = emitC(planC({ name, buffers: [], calls: [], inputs: [], outputs: [] }), { name });
  const main = `#include <stdio.h>\n#include "${name}.h"\nextern const uint64_t ${name}_weights[];\nconst uint64_t ${name}_weights[16] = { 0 };\nint main(void)\n{\n` +
    `${ISAS.map((i) => `  if (${name}_use_isa("${i.name}") == 0) puts("${i.name}");\n`).join('')}  return 0;\n}\n`;
  const files = new Map([['main.c', main], ...[`${name}.c`, `${name}.h`].map((f) => [f, emitted.get(f)!] as const)]);
  const binary = (await compileC(files, { flags: C_FLAGS })) ?? fail('E603', 'C code cannot be timed here', NO_COMPILER);
  try {
    return (await output(binary.path, [])).toString().trim().split('\n');
  } finally {
    await binary.dispose();
  }
}

const laneName = (i: number): string => `lane${i}`;

/** Prints, for each round, lane and call, its ns as a double. */
function cMain(plans: readonly Plan[], { seconds, least, most, cached }: Rounds): string {
  const lanes = plans.map((_, i) => laneName(i));
  const calls = plans.map((p) => p.calls.length);
  const again = plans.map((p) => `{ ${p.calls.map((c) => Number(cached(c.call))).join(', ') || 0} }`);
  return `#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
${lanes.map((l) => `#include "${l}.h"\n`).join('')}
${lanes.map((l, i) => `extern const uint64_t ${l}_weights[];\nconst uint64_t ${l}_weights[${Math.ceil(plans[i].weights.length / 8) + 8}] = { 0 };\n`).join('')}
static double now(clockid_t clock)
{
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static void *arena(size_t bytes)
{
  unsigned char *p = calloc(bytes + 128, 1);
  if (!p) exit(2);
  return p + (64 - (uintptr_t)p % 64);
}
int main(void)
{
  typedef void (*step)(int, void *);
  const step steps[] = { ${lanes.map((l) => `${l}_step`).join(', ')} };
  void *const arenas[] = { ${lanes.map((l) => `arena(${l.toUpperCase()}_ARENA_BYTES)`).join(', ')} };
  const int calls[] = { ${calls.join(', ')} };
  static const char again[][${Math.max(1, ...calls)}] = { ${again.join(', ')} };
  static double times[${Math.max(1, ...calls)}];
  static char slow[${lanes.length}][${Math.max(1, ...calls)}];
${lanes.map((l, i) => `  if (${l}_use_isa("${plans[i].target}")) return 3;\n`).join('')}  double clock = 1e9, started;
  for (int i = 0; i < 1000; i++) {
    const double t = now(CLOCK_MONOTONIC), d = now(CLOCK_MONOTONIC) - t;
    if (d < clock) clock = d;
  }
  started = now(CLOCK_MONOTONIC);
  for (int n = -${WARM_UP}; n < ${most} && (n < ${least} || now(CLOCK_MONOTONIC) - started < ${seconds} * 1e9); n++) {
    for (int l = 0; l < ${lanes.length}; l++) {
      for (int i = 0; i < calls[l]; i++) steps[l](i, arenas[l]);
      for (int i = 0; i < calls[l]; i++) {
        if (again[l][i]) steps[l](i, arenas[l]);
        const double c = slow[l][i] ? now(CLOCK_PROCESS_CPUTIME_ID) : 0, t = now(CLOCK_MONOTONIC);
        steps[l](i, arenas[l]);
        double d = now(CLOCK_MONOTONIC) - t;
        if (n < 0) slow[l][i] = d > ${LONG_MS} * 1e6;
        else if (slow[l][i] && now(CLOCK_PROCESS_CPUTIME_ID) - c < d) d = now(CLOCK_PROCESS_CPUTIME_ID) - c;
        times[i] = d - clock > ${LEAST_NS} ? d - clock : ${LEAST_NS};
      }
      if (n >= 0 && fwrite(times, sizeof *times, (size_t)calls[l], stdout) != (size_t)calls[l]) return 1;
    }
  }
  return fflush(stdout) != 0;
}
`;
}

/** In one compiled program. @throws E603 without a compiler that makes it */
export async function timeC(plans: readonly Plan[], rounds: Rounds, between: Between): Promise<Times> {
  const files = new Map([['main.c', cMain(plans, rounds)]]);
  plans.forEach((plan, i) => {
    const name = laneName(i);
    const emitted = emitC(plan.target === 'portable' ? [plan] : [...planC(plan.program, { isas: ['portable'] }), plan], { name });
    for (const file of [`${name}.c`, `${name}.h`]) files.set(file, emitted.get(file)!);
  });
  const binary = (await compileC(files, { flags: C_FLAGS })) ?? fail('E603', 'C code cannot be timed here', NO_COMPILER);
  try {
    const bytes = await output(binary.path, [], between);
    const all = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const calls = plans.reduce((n, p) => n + p.calls.length, 0);
    const count = calls > 0 ? all.length / calls : 0;
    if (!Number.isInteger(count)) fail('E901', 'the timing program wrote something else', { found: `${bytes.length} bytes` });
    let at = 0;
    return plans.map((p) => p.calls.map(() => {
      const i = at++;
      return typical(Array.from({ length: count }, (_, n) => all[n * calls + i]));
    }));
  } finally {
    await binary.dispose();
  }
}
