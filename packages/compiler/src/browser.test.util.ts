/** Pages in headless Chromium. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';

export const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

const TYPES: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html' };
const ISOLATION = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

/** What a module script, served beside the files of a folder, hands to `done`. @param isolated page apart from other origins: memory may be shared */
export async function inPage(folder: string, script: string, isolated = false): Promise<unknown> {
  const page = `<!doctype html><body><script type="module">
    const done = (value) => fetch('/done', { method: 'POST', body: JSON.stringify(value) });
    addEventListener('error', (e) => done({ error: e.message }));
    addEventListener('unhandledrejection', (e) => done({ error: String(e.reason) }));
    ${script}
  </script>`;
  const profile = mkdtempSync(join(tmpdir(), 'bitloom-browser-'));
  let finish: (body: string) => void = () => {};
  const finished = new Promise<string>((resolve) => (finish = resolve));
  const server = createServer((request, response) => {
    const body: Buffer[] = [];
    if (request.url === '/done') request.on('data', (b: Buffer) => body.push(b)).on('end', () => finish(Buffer.concat(body).toString()));
    const path = request.url === '/' ? null : join(folder, request.url!);
    if (path !== null && !existsSync(path)) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': TYPES[path === null ? '.html' : extname(path)] ?? 'application/octet-stream', ...(isolated ? ISOLATION : {}) });
    response.end(path === null ? page : readFileSync(path));
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const quiet = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const browser = spawn(CHROMIUM!, [...quiet, `--user-data-dir=${profile}`, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`], { stdio: 'ignore', detached: true });
  const gone = new Promise<void>((resolve) => void browser.once('close', resolve));
  try {
    const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error('the page does not get done')), 50_000).unref());
    const value = JSON.parse(await Promise.race([finished, late])) as { error?: string };
    if (value?.error !== undefined) throw new Error(value.error);
    return value;
  } finally {
    // With the processes that it has started.
    process.kill(-browser.pid!, 'SIGKILL');
    await gone;
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 9 });
  }
}
