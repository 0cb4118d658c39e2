import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const root = fileURLToPath(new URL('.', import.meta.url));
const folders = ['packages', 'examples'].flatMap((parent) => readdirSync(new URL(`./${parent}`, import.meta.url)).sort().map((name) => ({ name, root: `${root}${parent}/${name}` })));

/** Files of minutes, longest first: begun last, one of them would run alone at the end. */
const LONG = ['conformance/src/node-cases', 'conformance/src/models', 'backend-c/src/conv', 'compiler/src/bundle', 'backend-c/src/neon', 'backend-c/src/threads'];
const rank = ({ moduleId }: TestSpecification): number => [...LONG, ''].findIndex((f) => f === '' || moduleId.endsWith(`/${f}.test.ts`));
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

/** One project per package; sources are resolved directly, so tests need no build. */
export default defineConfig({
  root,
  resolve: { conditions: ['@bitloom/source'] },
  ssr: { resolve: { conditions: ['@bitloom/source', 'node', 'import', 'default'] } },
  test: {
    // vitest leaves a core to itself, which is half of a machine with two.
    maxWorkers: availableParallelism(),
    sequence: { sequencer: LongestFirst },
    projects: folders.map((folder) => ({
      extends: true,
      test: {
        ...folder,
        setupFiles: [`${root}tools/vitest-setup.ts`],
        include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
        testTimeout: 60_000,
        hookTimeout: 60_000,
      },
    })),
  },
});
