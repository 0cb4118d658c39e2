import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BitloomError, CODES, type Code } from '@bitloom/diagnostics';
import { describe, expect, test } from 'vitest';
import { cliMarkdown, errorsMarkdown } from './docs.js';
import { bitloom } from './tiny.test.util.js';

const committed = (name: string): string => readFileSync(fileURLToPath(new URL(`../../../docs/${name}`, import.meta.url)), 'utf8');

describe('generated documents', () => {
  test.each([['cli.md', cliMarkdown], ['errors.md', errorsMarkdown]] as const)('docs/%s is up to date', (name, make) => {
    expect(committed(name), 'stale: run `node tools/docs.mjs` and commit').toBe(make());
  });

  test('cli.md names every verb and every flag that --help prints', async () => {
    const page = cliMarkdown();
    for (const verb of ['compile', 'search', 'eval', 'verify', 'bench', 'inspect', 'run']) {
      expect(page).toContain(`## bitloom ${verb}`);
      const { out } = await bitloom(verb, '--help');
      const flags = [...out.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map((m) => m[1]);
      expect(flags.length).toBeGreaterThan(4);
      for (const flag of flags.filter((f) => f !== '--help')) expect(page).toContain(flag);
    }
  });

  test('errors.md states the exit codes that errors have', () => {
    for (const code of Object.keys(CODES) as Code[]) {
      expect(errorsMarkdown()).toContain(`| ${code} | ${CODES[code]} | ${new BitloomError({ code, message: '' }).exitCode} |`);
    }
  });
});
