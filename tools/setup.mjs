/** What `npm start` and `npm test` share: a checked Node, installed packages, built sources. Plain Node, nothing to install first. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

export const say = (text) => console.log(`\n── ${text}`);

/** Runs a command in the root. Returns its exit status. */
export function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...options.env } });
  if (done.error) console.error(`${command}: ${done.error.message}`);
  return done.status ?? 1;
}

/** As {@link run}, but a failure ends the process. */
export function must(command, args, options) {
  const status = run(command, args, options);
  if (status !== 0) {
    console.error(`\n${[command, ...args].join(' ')} failed with exit code ${status}`);
    process.exit(status);
  }
}

/** The built command. */
export const cli = join(root, 'packages/cli/bin/bitloom.js');

/** What a verb of it prints with `--json`; a failure is printed and ends the process. */
export function bitloom(...args) {
  const done = spawnSync(process.execPath, [cli, ...args, '--json', '-q'], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0) {
    console.error(`bitloom ${args.join(' ')}\n${done.stdout}${done.stderr}`);
    process.exit(1);
  }
  return JSON.parse(done.stdout);
}

const NODE = [20, 19];

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE[0] || (major === NODE[0] && minor < NODE[1])) {
    console.error(`Bitloom needs Node ${NODE.join('.')} or newer, this is ${process.versions.node}: https://nodejs.org`);
    process.exit(1);
  }
  console.log(`Node ${process.versions.node}`);
}

const readJson = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));

/** Why `npm ci` is needed; null where node_modules holds what the lock file says. */
function staleness() {
  if (!existsSync(join(root, 'node_modules/.package-lock.json'))) return 'node_modules is missing';
  const wanted = readJson('package-lock.json').packages;
  const there = readJson('node_modules/.package-lock.json').packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.startsWith('node_modules/')) continue;
    if (entry.link ? !existsSync(join(root, path)) : !entry.optional && there[path]?.version !== entry.version) return `node_modules is stale (${path.slice('node_modules/'.length)})`;
  }
  return null;
}

/** Node, packages, compiled sources. */
export function setUp() {
  say('Set-up');
  checkNode();
  const reason = staleness();
  if (reason) {
    console.log(`${reason}: npm ci`);
    must(process.platform === 'win32' ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund']);
  } else console.log('node_modules is up to date');
}

/** Arguments of {@link run} that type-check and compile projects (default: all). */
export const tsc = (...projects) => [process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', ...projects]];

/** Name of the C compiler, or null. */
export const cCompiler = () =>
  [process.env.CC, 'cc', 'gcc', 'clang'].find((cc) => cc && spawnSync(cc, ['--version'], { stdio: 'ignore' }).status === 0) ?? null;
