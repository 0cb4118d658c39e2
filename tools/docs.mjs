#!/usr/bin/env node
/** Writes docs/cli.md and docs/errors.md from the command line's declarations and the table of error codes. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const built = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'packages/cli'], { cwd: root, stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
const { cliMarkdown, errorsMarkdown } = await import(new URL('../packages/cli/dist/docs.js', import.meta.url));
for (const [name, text] of [['cli.md', cliMarkdown()], ['errors.md', errorsMarkdown()]]) {
  writeFileSync(join(root, 'docs', name), text);
  console.log(`wrote docs/${name}`);
}
