/** `npm run bench`: measures suites, prints tables, writes JSON. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, isAbsolute, join } from 'node:path';
import { parseArgs } from 'node:util';
import { findCompiler } from '@bitloom/backend-c';
import { readCosts } from '@bitloom/compiler';
import { fail, formatDiagnostic, toDiagnostic } from '@bitloom/diagnostics';
import { toBits } from '@bitloom/numerics';
import { DEFAULT_ENGINES, ENGINES, isPeer } from './engines.js';
import { Lab, findPeer } from './lab.js';
import type { Precision } from './network.js';
import { type BenchReport, type By, type Result, aligned, benchmarksMarkdown, caseTable, grouped } from './report.js';
import { SUITES, root } from './suites.js';

const HELP = `npm run bench -- [suite …] [options]

Suites: ${Object.keys(SUITES).join(', ')} (default: all)
  --only a,b         cases whose name contains one of these
  --engines a,b      ${ENGINES.join(', ')}
                     (default: ${DEFAULT_ENGINES.join(', ')})
  --bits a,b         of ours: w2a2, f32 … (default: those of the suite)
  --rounds n         default 9
  --round-ms n       least time that a contender runs in a round (default 20)
  --node path        another Node for the WebAssembly contenders
  --node-flags a,b   its flags (default: --no-liftoff for layers, none for models)
  --clock wall|cpu   time that passes (default), or time that the contender computes: for machines with other work to do
  --by median|best   what ratios are of: medians over the rounds (default), or the fastest round
  --costs file       table of bitloom tune, from which kernels are chosen (default: the shipped ones)
  --json file        results as JSON
  --docs             writes docs/benchmarks.json and docs/benchmarks.md
  --from file        prints (and, with --docs, writes) results measured before`;

const list = (text: string | undefined): string[] => text?.split(',').filter(Boolean) ?? [];

function precisionOf(text: string): Precision {
  if (text === 'f32') return text;
  const m = /^w(\d)a(\d)$/.exec(text) ?? fail('E101', 'bits do not parse', { found: text, expected: 'f32, or w1a1 … w8a8' });
  return [toBits(Number(m[1])), toBits(Number(m[2]))];
}

function count(flag: string, text: string): number {
  const n = Number(text);
  return Number.isInteger(n) && n > 0 ? n : fail('E101', `bad value of ${flag}`, { found: text, expected: 'a positive integer' });
}

function choice<T extends string>(flag: string, text: string, of: readonly T[]): T {
  return of.find((t) => t === text) ?? fail('E101', `bad value of ${flag}`, { found: text, expected: of.join(', ') });
}

const show = (suite: string, results: readonly Result[], by: By): void => console.log(`${suite}: ${results[0].case}\n${aligned(caseTable(results, by))}\n`);

const asJson = (r: BenchReport): string => `${JSON.stringify(r, null, 1)}\n`;

function writeDocs(r: BenchReport): void {
  writeFileSync(join(root, 'docs/benchmarks.json'), asJson(r));
  writeFileSync(join(root, 'docs/benchmarks.md'), benchmarksMarkdown(r));
}

/** First line that a program prints about itself. */
const versionOf = (command: string): string => execFileSync(command, ['--version'], { encoding: 'utf8' }).split('\n')[0].trim();

async function bench(argv: readonly string[]): Promise<void> {
  const { values: v, positionals } = parseArgs({
    args: [...argv], allowPositionals: true,
    options: {
      only: { type: 'string' }, engines: { type: 'string' }, bits: { type: 'string' }, costs: { type: 'string' },
      rounds: { type: 'string', default: '9' }, 'round-ms': { type: 'string', default: '20' },
      node: { type: 'string', default: process.execPath }, 'node-flags': { type: 'string' },
      clock: { type: 'string', default: 'wall' }, by: { type: 'string', default: 'median' },
      json: { type: 'string' }, docs: { type: 'boolean', default: false }, from: { type: 'string' }, help: { type: 'boolean' },
    },
  });
  if (v.help) return console.log(HELP);
  const clock = choice('--clock', v.clock, ['wall', 'cpu'] as const);
  const by = choice('--by', v.by, ['median', 'best'] as const);
  if (v.from !== undefined) {
    const known = JSON.parse(readFileSync(v.from, 'utf8')) as BenchReport;
    for (const [suite, cases] of grouped(known.results)) for (const results of cases.values()) show(suite, results, by);
    if (v.docs) writeDocs({ ...known, options: { ...known.options, by } });
    return;
  }
  for (const s of positionals) if (!(s in SUITES)) fail('E101', 'unknown suite', { found: s, expected: Object.keys(SUITES).join(', ') });
  const engines = v.engines === undefined ? DEFAULT_ENGINES : list(v.engines);
  for (const e of engines) if (!ENGINES.includes(e)) fail('E101', 'unknown engine', { found: e, expected: ENGINES.join(', ') });

  const results: Result[] = [];
  const skipped: string[] = [];
  const log = (text: string): void => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  const common = {
    engines, only: list(v.only), precisions: v.bits === undefined ? null : list(v.bits).map(precisionOf),
    costs: v.costs === undefined ? null : await readCosts(v.costs),
    rounds: count('--rounds', v.rounds), roundMs: count('--round-ms', v['round-ms']),
    progress: (what: string): void => {
      if (process.stderr.isTTY) log(what);
    },
    skip: (reason: string): void => {
      skipped.push(reason);
      log(`skipped: ${reason}\n`);
    },
    result: (r: readonly Result[]): void => {
      results.push(...r);
      if (process.stderr.isTTY) log('');
      if (r.length > 0) show(r[0].suite, r, by);
    },
  };
  for (const name of positionals.length > 0 ? positionals : Object.keys(SUITES)) {
    // Functions of a single layer are called too seldom for an engine to tier them all up.
    const nodeFlags = v['node-flags'] === undefined ? (name === 'layers' ? ['--no-liftoff'] : []) : list(v['node-flags']);
    const lab = new Lab({ node: v.node, nodeFlags, clock });
    const end = (): void => process.exit(130);
    process.once('SIGINT', end);
    try {
      await SUITES[name](lab, common);
    } finally {
      await lab.dispose();
      process.off('SIGINT', end);
    }
  }
  const cc = await findCompiler();
  const report: BenchReport = {
    date: new Date().toISOString().slice(0, 10),
    // Where things lie on this machine says nothing.
    command: ['npm run bench', ...(argv.length > 0 ? ['--', ...argv.map((a) => (isAbsolute(a) ? basename(a) : a))] : [])].join(' '),
    machine: { cpu: cpus()[0].model, cores: cpus().length, platform: `${process.platform} ${process.arch}` },
    versions: {
      node: versionOf(v.node), ...(cc ? { cc: versionOf(cc) } : {}),
      ...Object.fromEntries(engines.filter(isPeer).map((p) => [p, findPeer(p, [root]).version])),
    },
    options: { rounds: common.rounds, roundMs: common.roundMs, clock, by }, results, skipped,
  };
  if (v.json !== undefined) writeFileSync(v.json, asJson(report));
  if (v.docs) writeDocs(report);
}

bench(process.argv.slice(2)).catch((error: unknown) => {
  console.error(formatDiagnostic(toDiagnostic(error)));
  process.exitCode = 1;
});
