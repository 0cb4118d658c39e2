/** Instruction sets that one C file serves. A plan is made for each; the file holds the steps of all and chooses when it runs. */

export type CIsa = 'portable' | 'avx2' | 'avx512' | 'neon';

export interface IsaRow {
  readonly name: CIsa;
  /** Preprocessor condition under which the set is compiled in; null: always. */
  readonly guard: string | null;
  /** C expression: whether the processor that runs has it. */
  readonly supported: string;
  /** Argument of the `target` attribute of its functions; null where the compiler's own flags suffice. */
  readonly attribute: string | null;
}

const X86 = 'defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && !defined(BITLOOM_NO_SIMD)';
const cpu = (...features: string[]): string => features.map((f) => `__builtin_cpu_supports("${f}")`).join(' && ');
const AVX512 = ['avx512f', 'avx512bw', 'avx512vl', 'avx512vbmi', 'avx512vnni', 'avx512vpopcntdq'];

/** Worst first: the last one that is compiled in and supported runs. */
export const ISAS: readonly IsaRow[] = [
  { name: 'portable', guard: null, supported: '1', attribute: null },
  { name: 'avx2', guard: X86, supported: cpu('avx2'), attribute: 'avx2' },
  { name: 'avx512', guard: X86, supported: cpu(...AVX512), attribute: ['avx2', ...AVX512].join(',') },
  { name: 'neon', guard: 'defined(__aarch64__) && defined(__ARM_NEON) && !defined(BITLOOM_NO_SIMD)', supported: '1', attribute: null },
];
