/** Builds emitted C with the machine's compiler and runs it through its self-test's stream mode; for tests and verification. */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Plan } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import type { TensorMap } from '@bitloom/kernel-spec';
import { DTYPES, type Tensor, bytesOf, tensor } from '@bitloom/tensor';
import type { CIsa } from './isa.js';

interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs a command; rejects when it cannot be started. */
function execute(command: string, args: readonly string[], input: Iterable<Uint8Array> = []): Promise<Exit> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (b: Buffer) => out.push(b));
    child.stderr.on('data', (b: Buffer) => err.push(b));
    child.stdin.on('error', () => {}); // a program that ends early closes its input; its exit code tells why
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() }));
    Readable.from(input, { objectMode: true }).pipe(child.stdin);
  });
}

/** Why the C parts of tests and of verification are left out. */
export const NO_C_COMPILER = 'no C compiler: none of $CC, cc, gcc, clang can be started';

/** The first of $CC, cc, gcc, clang that starts, or null. */
export async function findCompiler(candidates: readonly string[] = [process.env.CC ?? '', 'cc', 'gcc', 'clang']): Promise<string | null> {
  for (const cc of candidates) {
    if (!cc) continue;
    const exit = await execute(cc, ['--version']).catch(() => null);
    if (exit?.code === 0) return cc;
  }
  return null;
}

/** Full speed; kernels choose their instruction sets at run time. */
export const NATIVE_FLAGS: readonly string[] = ['-std=c99', '-O3'];

export interface CBinary {
  /** The self-test program. */
  readonly path: string;
  /** Removes it. */
  dispose(): Promise<void>;
}

/** Folders in use: an interrupted process leaves without disposing of them. */
const folders = new Set<string>();
process.on('exit', () => folders.forEach((dir) => rmSync(dir, { recursive: true, force: true })));

/**
 * Compiles emitted files (all `.c` of the map) in a temporary folder.
 * @returns null when there is no compiler, see {@link NO_C_COMPILER}
 * @throws E603 with the compiler's messages
 */
export async function compileC(files: ReadonlyMap<string, string>, options: { readonly cc?: string; readonly flags?: readonly string[] } = {}): Promise<CBinary | null> {
  const cc = options.cc ?? (await findCompiler());
  if (!cc) return null;
  const dir = await mkdtemp(join(tmpdir(), 'bitloom-c-'));
  folders.add(dir);
  const dispose = async (): Promise<void> => {
    await rm(dir, { recursive: true, force: true });
    folders.delete(dir);
  };
  try {
    for (const [name, text] of files) await writeFile(join(dir, name), text);
    const sources = [...files.keys()].filter((f) => f.endsWith('.c')).map((f) => join(dir, f));
    const path = join(dir, 'selftest');
    const exit = await execute(cc, [...(options.flags ?? NATIVE_FLAGS), ...sources, '-o', path, '-lm']);
    if (exit.code !== 0) fail('E603', 'the C compiler rejected generated code', { found: exit.stderr.slice(0, 4000), remedy: 'report it, with the model' });
    return { path, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** One sample's outputs, and the result bytes of every call where asked for. */
export interface CRun {
  readonly outputs: TensorMap;
  /** steps[call][result]; null without `steps`. */
  readonly steps: readonly (readonly Uint8Array[])[] | null;
}

/**
 * Runs samples one after the other, with the kernels of one instruction set (by default the best that the machine has).
 * @param plan any of the plans that the library was emitted from
 * @throws E302 when a sample does not fit the plan's inputs; E603 when the program fails or writes something else than the outputs
 */
export async function runC(binary: CBinary, plan: Plan, samples: readonly TensorMap[], options: { readonly steps?: boolean; readonly isa?: CIsa } = {}): Promise<CRun[]> {
  function* input(): Generator<Uint8Array> {
    for (const s of samples) for (const p of plan.inputs) if (p.location.bytes) yield bytesOf(s.get(p.name)!);
  }
  for (const s of samples) {
    for (const p of plan.inputs) {
      const t = s.get(p.name);
      const { dtype } = plan.program.buffers[p.buffer];
      if (!t || t.dtype !== dtype || t.data.byteLength !== p.location.bytes) {
        fail('E302', 'a sample does not fit the network', { node: p.name, found: t ? `${t.dtype} [${t.shape.join(', ')}]` : 'nothing', expected: `${dtype}, ${p.location.bytes} bytes` });
      }
    }
  }
  if (!samples.length) return [];
  const exit = await execute(binary.path, ['stream', ...(options.steps ? ['--steps'] : []), ...(options.isa ? [options.isa] : [])], input());
  const stepBytes = options.steps ? plan.calls.reduce((n, c) => n + c.results.reduce((m, l) => m + l.bytes, 0), 0) : 0;
  const expected = samples.length * (stepBytes + plan.outputs.reduce((n, p) => n + p.location.bytes, 0));
  if (exit.code !== 0 || exit.stdout.length !== expected) {
    fail('E603', 'the compiled program failed', { found: `exit ${exit.signal ?? exit.code}, ${exit.stdout.length} bytes of output ${exit.stderr.slice(0, 4000)}`.trim(), expected: `${expected} bytes` });
  }
  let at = 0;
  const take = (bytes: number): Uint8Array => new Uint8Array(exit.stdout.subarray(at, (at += bytes)));
  return samples.map(() => {
    const steps = options.steps ? plan.calls.map((c) => c.results.map((l) => take(l.bytes))) : null;
    const outputs = new Map<string, Tensor>();
    for (const p of plan.outputs) {
      const { dtype, shape } = plan.program.buffers[p.buffer];
      const bytes = take(p.location.bytes);
      outputs.set(p.name, tensor(dtype, shape, new DTYPES[dtype].array(bytes.buffer)));
    }
    return { outputs, steps };
  });
}
