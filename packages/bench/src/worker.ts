/** Contenders run in processes of their own, one request at a time. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { fail } from '@bitloom/diagnostics';

/** Times in ns: of all iterations together, of the shortest, of the median one. */
export interface Timing {
  readonly total: number;
  readonly min: number;
  readonly median: number;
}

export const workerFile = (name: string): string => fileURLToPath(new URL(`../workers/${name}.mjs`, import.meta.url));

export class Worker {
  private readonly child: ChildProcessWithoutNullStreams;
  private waiting: { resolve(line: string): void; reject(e: Error): void } | null = null;
  private stderr = '';
  private ended: string | null = null;

  constructor(private readonly command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.child = spawn(command, args, { env: { ...process.env, ...env } });
    this.child.stderr.on('data', (b: Buffer) => (this.stderr = (this.stderr + b.toString()).slice(-2000)));
    this.child.stdin.on('error', () => {}); // the exit tells more
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      this.waiting?.resolve(line);
      this.waiting = null;
    });
    const end = (how: string): void => {
      this.ended ??= how;
      this.waiting?.reject(this.failure());
      this.waiting = null;
    };
    this.child.on('error', (e) => end(e.message));
    this.child.on('close', (code, signal) => end(`exit ${signal ?? code}`));
  }

  private failure(): Error {
    try {
      fail('E604', 'a benchmark process failed', { node: this.command, found: `${this.ended} ${this.stderr}`.trim() });
    } catch (e) {
      return e as Error;
    }
  }

  /** @throws E604 when the process ends, or answers with an error */
  private async request(line: string): Promise<unknown> {
    if (this.ended !== null) throw this.failure();
    const reply = JSON.parse(await new Promise<string>((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.child.stdin.write(`${line}\n`);
    })) as { error?: string };
    if (reply.error !== undefined) fail('E604', 'a contender cannot run', { found: reply.error });
    return reply;
  }

  load = (id: string, spec: unknown): Promise<{ isa?: string }> => this.request(`load ${id} ${JSON.stringify(spec)}`) as Promise<{ isa?: string }>;
  run = (id: string, n: number): Promise<Timing> => this.request(`run ${id} ${n}`) as Promise<Timing>;
  /** Times of every call of the program. */
  profile = (id: string, n: number): Promise<Omit<Timing, 'total'>[]> => this.request(`profile ${id} ${n}`) as Promise<Omit<Timing, 'total'>[]>;

  close(): void {
    this.child.stdin.end();
    this.child.kill();
  }
}
