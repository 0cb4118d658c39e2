/** The program that times emitted C: the same protocol as the other workers, for one network. */

export interface CNetwork {
  /** Prefix of functions and macros. */
  readonly name: string;
  /** Files by name, as emitted. */
  readonly files: ReadonlyMap<string, string>;
  /** Bytes of each input and output, in order. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** The emitted files with the self-test replaced by a program that times. `load` takes {"isa": "", "inputs": [file, …]}. */
export function timingProgram({ name, files, inputs, outputs }: CNetwork): Map<string, string> {
  const words = (bytes: number): number => Math.ceil(bytes / 8) + 8;
  const ports = [...inputs.map((n, i) => [`in${i}`, n] as const), ...outputs.map((n, i) => [`out${i}`, n] as const)];
  const main = `#define _POSIX_C_SOURCE 200809L
#include "${name}.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t memory[${name.toUpperCase()}_ARENA_BYTES / 8 + 16];
${ports.map(([id, n]) => `static uint64_t ${id}[${words(n)}];\n`).join('')}
static void *arena(void) { return (void *)(((uintptr_t)memory + 63) / 64 * 64); }

static clockid_t counted = CLOCK_MONOTONIC;

static double now(void)
{
  struct timespec t;
  clock_gettime(counted, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double middle(double *t, long n)
{
  qsort(t, (size_t)n, sizeof *t, ascending);
  return (t[(n - 1) / 2] + t[n / 2]) / 2;
}

static void run(void) { ${name}_run(${[...ports.map(([id]) => `(void *)${id}`), 'arena()'].join(', ')}); }

static int read_file(char **at, void *to, size_t bytes)
{
  char *path = strchr(*at, '"'), *end = path ? strchr(path + 1, '"') : 0;
  FILE *f;
  size_t got;
  if (!end) return 0;
  *end = 0;
  f = fopen(path + 1, "rb");
  got = f ? fread(to, 1, bytes, f) : 0;
  if (f) fclose(f);
  *at = end + 1;
  return got == bytes;
}

static char line[65536];

int main(void)
{
  const char *clock = getenv("BITLOOM_BENCH_CLOCK");
  if (clock && strcmp(clock, "cpu") == 0) counted = CLOCK_PROCESS_CPUTIME_ID;
  while (fgets(line, sizeof line, stdin)) {
    char command[16], id[256];
    long n = 0;
    if (sscanf(line, "%15s %255s %ld", command, id, &n) < 2) return 2;
    if (strcmp(command, "load") == 0) {
      char *at = strchr(line, '{'), isa[32] = "";
      int ok = at && sscanf(at, "{\\"isa\\":\\"%31[a-z0-9]\\"", isa) >= 0;
      if (*isa && ${name}_use_isa(isa) != 0) {
        printf("{\\"error\\": \\"this machine has no %s\\"}\\n", isa);
        fflush(stdout);
        continue;
      }
      at = strchr(line, '[');
${inputs.map((bytes, i) => `      ok = ok && read_file(&at, in${i}, ${bytes});\n`).join('')}      run();
      if (ok) printf("{\\"isa\\": \\"%s\\"}\\n", ${name}_isa());
      else printf("{\\"error\\": \\"inputs cannot be read\\"}\\n");
    } else if (strcmp(command, "run") == 0) {
      double *times = malloc((size_t)n * sizeof *times), start = now(), total;
      for (long i = 0; i < n; i++) {
        const double t = now();
        run();
        times[i] = now() - t;
      }
      total = now() - start;
      {
        const double m = middle(times, n);
        printf("{\\"total\\": %.0f, \\"min\\": %.0f, \\"median\\": %.0f}\\n", total, times[0], m);
      }
      free(times);
    } else {
      const int steps = ${name}_steps();
      double *times = malloc((size_t)(n * steps) * sizeof *times);
      for (long i = 0; i < n; i++) {
        run(); /* a step reads what the steps before it left */
        for (int s = 0; s < steps; s++) {
          const double t = now();
          ${name}_step(s, arena());
          times[s * n + i] = now() - t;
        }
      }
      printf("[");
      for (int s = 0; s < steps; s++) {
        const double m = middle(times + s * n, n);
        printf("%s{\\"min\\": %.0f, \\"median\\": %.0f}", s ? ", " : "", times[s * n], m);
      }
      printf("]\\n");
      free(times);
    }
    fflush(stdout);
  }
  return 0;
}
`;
  const library = [...files].filter(([file]) => /\.[ch]$/.test(file) && file !== 'selftest.c' && file !== 'vectors.h');
  return new Map([...library, ['bench.c', main]]);
}
