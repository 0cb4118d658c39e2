/** Many networks as one C program: one start of the compiler and one process for hundreds of node cases. */
import { spawnSync } from 'node:child_process';
import { type CBinary, arenaBytes, compileC, emitC } from '@bitloom/backend-c';
import type { Plan, PlannedPort } from '@bitloom/codegen';
import { BitloomError } from '@bitloom/diagnostics';
import type { TensorMap } from '@bitloom/kernel-spec';
import { DTYPES, type Tensor, bytesOf, tensor } from '@bitloom/tensor';

export interface BatchItem {
  readonly name: string;
  readonly plans: readonly Plan[];
  readonly inputs: TensorMap;
}

export interface Batch {
  readonly items: readonly BatchItem[];
  /** Resolves to null without a compiler. */
  readonly binary: Promise<CBinary | null>;
}

/** Warnings are errors because users compile with them; `restrict` is off since tensors without elements share an address. */
const FLAGS = ['-std=c99', '-pipe', '-Wall', '-Wextra', '-Werror', '-Wno-restrict'];
/** Bytes beyond arena and outputs that must stay as they were. */
const GUARD = 64;

/** Reads every item's inputs from stdin, runs it in memory that is not zero, and writes its outputs to stdout. */
function driver(names: readonly string[], items: readonly BatchItem[]): string {
  const ports = (p: Plan): PlannedPort[] => [...p.inputs, ...p.outputs];
  const sizes = (p: Plan): string => ports(p).map((q) => `${q.location.bytes}, `).join('');
  const pointers = (p: Plan): string => ports(p).map((_, j) => `p[${j}], `).join('');
  return `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
${[...new Set(names)].map((n) => `#include "${n}.h"\n`).join('')}
typedef struct {
  void (*run)(void **p, void *arena);
  size_t arena;
  int inputs, ports;
  const size_t *bytes;
} network;
${items.map(({ plans: [p] }, i) => `
static const size_t bytes${i}[] = { ${sizes(p)}0 };
static void run${i}(void **p, void *arena) { (void)p; ${names[i]}_run(${pointers(p)}arena); }`).join('')}

static const network networks[] = {
${items.map(({ plans }, i) => `  { run${i}, ${arenaBytes(plans)}, ${plans[0].inputs.length}, ${ports(plans[0]).length}, bytes${i} },\n`).join('')}};

static uint8_t *block(size_t bytes)
{
  uint8_t *const p = malloc(bytes + ${GUARD});
  if (!p || (uintptr_t)p % 16 != 0) exit(2);
  memset(p, 0xa5, bytes + ${GUARD});
  return p;
}

static void check(const uint8_t *p, size_t bytes, int i)
{
  for (size_t g = 0; g < ${GUARD}; g++) {
    if (p[bytes + g] != 0xa5) {
      fprintf(stderr, "network %d writes outside of its memory\\n", i);
      exit(3);
    }
  }
}

int main(void)
{
  for (int i = 0; i < ${items.length}; i++) {
    const network *const n = &networks[i];
    void *ports[64];
    uint8_t *const arena = block(n->arena);
    fprintf(stderr, "%d\\n", i);
    if (n->ports > 64) return 2;
    for (int j = 0; j < n->ports; j++) {
      ports[j] = block(n->bytes[j]);
      if (j < n->inputs && fread(ports[j], 1, n->bytes[j], stdin) != n->bytes[j]) return 2;
    }
    n->run(ports, arena);
    check(arena, n->arena, i);
    for (int j = 0; j < n->ports; j++) {
      check(ports[j], n->bytes[j], i);
      if (j >= n->inputs && fwrite(ports[j], 1, n->bytes[j], stdout) != n->bytes[j]) return 2;
      free(ports[j]);
    }
    free(arena);
  }
  return 0;
}
`;
}

/** What networks are called while they are compared: as no tensor is. */
const COMMON_NAME = 'bitloom_batch_item';

/** Starts compiling; the compiler works while this process does something else. Items of the same code and weights share it. */
export function startBatch(items: readonly BatchItem[], level: '-O0' | '-O1' = '-O1'): Batch {
  const files = new Map<string, string>();
  let weights = '';
  const known = new Map<string, string>();
  const names = items.map(({ plans }, i) => {
    const emitted = emitC(plans, { name: COMMON_NAME });
    const parts = [`${COMMON_NAME}.h`, `${COMMON_NAME}.c`, 'weights.c'].map((f) => emitted.get(f)!);
    const key = parts.join('\0');
    const shared = known.get(key);
    if (shared !== undefined) return shared;
    const name = `network${i}`;
    known.set(key, name);
    const [header, code, data] = parts.map((text) => text.replaceAll(COMMON_NAME, name).replaceAll(COMMON_NAME.toUpperCase(), name.toUpperCase()));
    files.set(`${name}.h`, header).set(`${name}.c`, code);
    weights += data;
    return name;
  });
  files.set('driver.c', driver(names, items));
  files.set('weights.c', weights);
  const binary = compileC(files, { flags: [...FLAGS, level] });
  binary.catch(() => {}); // reported by runBatch
  return { items, binary };
}

/** Outputs of every item, in order; null without a compiler. @throws when the compiler or the program fails, naming the item */
export async function runBatch({ items, binary }: Batch): Promise<Map<string, Tensor>[] | null> {
  const program = await binary.catch((error: unknown) => {
    if (!(error instanceof BitloomError)) throw error;
    const text = `${error.message}: ${error.diagnostic.found}`;
    throw new Error(text.replace(/network(\d+)\.[ch]/g, (file, i) => `${file} (${items[Number(i)].name})`), { cause: error });
  });
  if (!program) return null;
  try {
    const input = Buffer.concat(items.flatMap(({ plans: [plan], inputs }) => plan.inputs.map((p) => bytesOf(inputs.get(p.name)!))));
    const { status, signal, stdout, stderr } = spawnSync(program.path, { input, maxBuffer: 2 ** 30 });
    if (status !== 0) {
      const last = /(\d+)\n(\D.*)?\s*$/.exec(stderr.toString());
      throw new Error(`${items[Number(last?.[1] ?? 0)].name}: ${last?.[2] ?? ''} exit ${signal ?? status}`);
    }
    let at = 0;
    return items.map(({ plans: [plan] }) => new Map(plan.outputs.map((p) => {
      const { dtype, shape } = plan.program.buffers[p.buffer];
      const bytes = new Uint8Array(stdout.subarray(at, (at += p.location.bytes)));
      return [p.name, tensor(dtype, shape, new DTYPES[dtype].array(bytes.buffer))];
    })));
  } finally {
    await program.dispose();
  }
}
