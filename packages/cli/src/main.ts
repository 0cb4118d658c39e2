/** The command line: arguments in, exit code out. */
import { BitloomError, type Diagnostic, formatDiagnostic, toDiagnostic } from '@bitloom/diagnostics';
import { CommanderError } from 'commander';
import { defineProgram } from './program.js';

/** Where output goes: results to `out`, everything else to `err`. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** `err` is a terminal. */
  readonly tty: boolean;
  /** Ends the run with {@link INTERRUPTED}. */
  readonly signal?: AbortSignal;
}

export const INTERRUPTED = 130;

function processIo(): Io {
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort());
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on('error', (e: NodeJS.ErrnoException) => process.exit(e.code === 'EPIPE' ? 0 : 1));
  return { out: (t) => void process.stdout.write(t), err: (t) => void process.stderr.write(t), tty: process.stderr.isTTY === true, signal: interrupt.signal };
}

/** Runs one command. Never throws; failures are printed and become the exit code. */
export async function main(argv: readonly string[], io: Io = processIo()): Promise<number> {
  const { program, session } = defineProgram(io);
  const work = program.parseAsync([...argv], { from: 'user' }).then(() => session.exitCode);
  work.catch(() => undefined); // an interrupted run may still fail
  try {
    return await (io.signal ? Promise.race([work, aborted(io.signal)]) : work);
  } catch (error) {
    session.progress.clear();
    if (io.signal?.aborted) {
      if (session.output !== null) session.abandon(session.output);
      io.err('interrupted\n');
      return INTERRUPTED;
    }
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const known = error instanceof CommanderError ? usageError(error) : error;
    const d = toDiagnostic(known);
    io.err(`${formatDiagnostic(d)}\n`);
    if (argv.includes('--stack') && error instanceof Error) io.err(`${stackOf(error)}\n`);
    if (argv.includes('--json')) io.out(`${JSON.stringify({ error: errorContract(d) })}\n`);
    return known instanceof BitloomError ? known.exitCode : 1;
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

/** What commander refuses, as E101. */
function usageError(e: CommanderError): BitloomError {
  if (e.code === 'commander.help') return new BitloomError({ code: 'E101', message: 'no verb given', remedy: 'see bitloom --help' });
  const [message, hint] = e.message.replace(/^error: /, '').split('\n');
  return new BitloomError({ code: 'E101', message, found: /'([^']*)'/.exec(message)?.[1], remedy: hint ? hint.replace(/^\(Did you mean /, 'did you mean ').replace(/\)$/, '') : 'see bitloom --help' });
}

const errorContract = (d: Diagnostic): Record<keyof Diagnostic, string | null> => ({
  code: d.code, message: d.message, node: d.node ?? null, found: d.found ?? null, expected: d.expected ?? null, remedy: d.remedy ?? null,
});

const stackOf = (e: Error): string => `${e.stack}${e.cause instanceof Error ? `\ncaused by ${stackOf(e.cause)}` : ''}`;
