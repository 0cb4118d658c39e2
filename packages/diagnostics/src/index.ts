/**
 * Coded diagnostics. Every error a user can meet is a {@link BitloomError} with a code from {@link CODES};
 * factories live beside the code that detects the problem and go through {@link fail}.
 */

/** Code → one-line meaning. `docs/errors.md` is generated from this table. */
export const CODES = {
  // 1xx: usage and configuration (exit 2)
  E101: 'unknown or malformed command-line option',
  E102: 'configuration file is invalid',
  E103: 'conflicting options',
  // 2xx: model import
  E201: 'not an ONNX model, or truncated protobuf',
  E202: 'unsupported operators',
  E203: 'external data is missing, too short, or outside the model folder',
  E204: 'shape or type mismatch in the model',
  E205: 'a dimension is symbolic; give it with --define',
  E206: 'tensor too large',
  E207: 'graph is malformed (cycle, undefined or duplicate value)',
  E208: 'weights contain NaN or infinity',
  E209: 'unsupported attribute value or opset',
  // 3xx: data and calibration
  E301: 'data source cannot be read',
  E302: 'data does not match the model inputs',
  E303: 'calibration or evaluation set is empty',
  E304: 'labels are missing',
  // 4xx: IR and passes
  E401: 'IR text does not parse',
  E402: 'IR verification failed',
  E403: 'no gradient for an operation',
  E404: 'training diverged',
  // 5xx: search (E501 exits 3)
  E501: 'budget is infeasible',
  E502: 'assignment or pin names an unknown node or scheme',
  E503: 'cost table is malformed, or was made on another machine',
  // 6xx: codegen
  E601: 'operation cannot be lowered',
  E602: 'integer accumulator could overflow',
  E603: 'a tool (wabt, C compiler) rejected generated code',
  E604: 'a benchmark process failed',
  // 7xx: bundle and verification (E702 exits 4)
  E701: 'bundle is corrupted or of an unknown version',
  E702: 'verification mismatch',
  E703: 'output cannot be written',
  E704: 'input cannot be read',
  E705: 'a package to compare with is not installed',
  E706: 'checkpoint is corrupted or of another run',
  // 9xx
  E901: 'internal error, please report it',
} as const;

export type Code = keyof typeof CODES;

export interface Diagnostic {
  readonly code: Code;
  readonly message: string;
  /** ONNX node (or file, option) that the error is about. */
  readonly node?: string;
  readonly found?: string;
  readonly expected?: string;
  readonly remedy?: string;
}

/** The one error type that crosses package boundaries. */
export class BitloomError extends Error {
  readonly diagnostic: Diagnostic;
  constructor(diagnostic: Diagnostic, options?: ErrorOptions) {
    super(diagnostic.message, options);
    this.name = 'BitloomError';
    this.diagnostic = diagnostic;
  }
  get code(): Code {
    return this.diagnostic.code;
  }
  /** Exit code of the command line: 2 usage, 3 budget infeasible, 4 verification mismatch, else 1. */
  get exitCode(): number {
    if (this.code === 'E501') return 3;
    if (this.code === 'E702') return 4;
    return this.code.startsWith('E1') ? 2 : 1;
  }
}

/** Throws a {@link BitloomError}. */
export function fail(code: Code, message: string, details: Omit<Diagnostic, 'code' | 'message'> = {}, cause?: unknown): never {
  throw new BitloomError({ code, message, ...details }, cause === undefined ? undefined : { cause });
}

/** `E204 …` followed by indented `node`, `found`, `expected`, `remedy` lines. */
export function formatDiagnostic(d: Diagnostic): string {
  const lines = [`${d.code}: ${d.message}`];
  if (d.node) lines.push(`  node      ${d.node}`);
  if (d.found) lines.push(`  found     ${d.found}`);
  if (d.expected) lines.push(`  expected  ${d.expected}`);
  if (d.remedy) lines.push(`  remedy    ${d.remedy}`);
  return lines.join('\n');
}

/** Any thrown value as a diagnostic; what is not ours becomes E901. */
export function toDiagnostic(error: unknown): Diagnostic {
  if (error instanceof BitloomError) return error.diagnostic;
  return { code: 'E901', message: error instanceof Error ? error.message : String(error), remedy: 'run again with --stack and report it' };
}
