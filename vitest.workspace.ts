import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));
const packages = readdirSync(new URL('./packages', import.meta.url)).sort();

/** One project per package; sources are resolved directly, so tests need no build. */
export default defineConfig({
  root,
  resolve: { conditions: ['@bitloom/source'] },
  ssr: { resolve: { conditions: ['@bitloom/source', 'node', 'import', 'default'] } },
  test: {
    projects: packages.map((name) => ({
      extends: true,
      test: {
        name,
        root: `${root}packages/${name}`,
        include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
        testTimeout: 60_000,
      },
    })),
  },
});
