import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

/** Layers from bottom to top: a layer imports itself and the ones before it. */
const layers = ['base', 'ir', 'ops', 'frontend', 'transform', 'strategy', 'codegen', 'backend', 'bundle', 'app', 'test'];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '**/.cache/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    plugins: { '@nx': nx },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: false,
          allow: [],
          depConstraints: layers.map((layer, i) => ({
            sourceTag: `layer:${layer}`,
            onlyDependOnLibsWithTags: layers.slice(0, i + 1).map((l) => `layer:${l}`),
          })),
        },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
);
