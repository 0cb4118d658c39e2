import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));
const folders = ['packages', 'examples'].flatMap((parent) => readdirSync(new URL(`./${parent}`, import.meta.url)).sort().map((name) => ({ name, root: `${root}${parent}/${name}` })));

/** One project per package; sources are resolved directly, so tests need no build. */
export default defineConfig({
  root,
  resolve: { conditions: ['@bitloom/source'] },
  ssr: { resolve: { conditions: ['@bitloom/source', 'node', 'import', 'default'] } },
  test: {
    projects: folders.map((folder) => ({
      extends: true,
      test: {
        ...folder,
        setupFiles: [`${root}tools/vitest-setup.ts`],
        include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
        testTimeout: 60_000,
      },
    })),
  },
});
