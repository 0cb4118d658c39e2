/** Options as users write them: in code, in `bitloom.config.json`, as flags. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parseDataSpec } from '@bitloom/data';
import { type Code, fail } from '@bitloom/diagnostics';
import { z } from 'zod';
import { compileOptionsSchema, finetuneOptionsSchema, searchOptionsSchema, tuneOptionsSchema } from './options.js';

/** Where the result goes: a folder for bundles, a file for assignments; null writes nothing. */
const output = z.string().min(1).nullable().default(null);

export const compileConfigSchema = compileOptionsSchema.extend({
  output,
  /** File for the calibrated network as ONNX in QDQ form, to run on onnxruntime; null writes none. */
  emitQdq: output,
});
export const searchConfigSchema = searchOptionsSchema.extend({ output });
export const finetuneConfigSchema = finetuneOptionsSchema.extend({ output });
export const tuneConfigSchema = tuneOptionsSchema.extend({ output });
/** Of the file: options of `compile`; `search` takes those that it knows. */
const fileSchema = compileConfigSchema.extend({ $schema: z.string().optional() });

export type CompileConfig = z.input<typeof compileConfigSchema>;
export type SearchConfig = z.input<typeof searchConfigSchema>;
export type FinetuneConfig = z.input<typeof finetuneConfigSchema>;
export type TuneConfig = z.input<typeof tuneConfigSchema>;

/** Types a configuration that is written in code. */
export const defineConfig = (config: CompileConfig): CompileConfig => config;

/** Options with defaults filled in. @throws `code`, naming the first bad one (and the file it stands in) */
export function parseConfig<S extends z.ZodType>(schema: S, input: unknown, code: Code = 'E101', file?: string): z.output<S> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const at = issue.path.join('.');
  return fail(code, file === undefined ? 'bad option' : 'configuration file is invalid', {
    node: [file, at].filter(Boolean).join(': ') || undefined, found: issue.message, remedy: 'see docs/cli.md',
  });
}

/**
 * A configuration file: JSON, strictly checked. Relative paths in it are relative to its folder.
 * @returns only what the file states, so that flags can go over it
 * @throws E102
 */
export async function readConfig(file: string): Promise<CompileConfig> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) =>
    fail('E102', 'configuration file cannot be read', { node: file, found: cause.code }, cause));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    fail('E102', 'configuration file is not JSON', { node: file, found: (cause as Error).message }, cause);
  }
  parseConfig(fileSchema, json, 'E102', file);
  const { $schema: _, ...config } = json as z.input<typeof fileSchema>;
  const from = (path: string): string => resolve(dirname(file), path);
  const data = (spec: string): string => {
    const { kind, path } = parseDataSpec(spec);
    return kind === 'auto' ? from(path) : `${kind}:${from(path)}`;
  };
  return {
    ...config,
    ...(config.calib ? { calib: data(config.calib) } : {}),
    ...(config.costs ? { costs: from(config.costs) } : {}),
    ...(config.assignment ? { assignment: from(config.assignment) } : {}),
    ...(config.output ? { output: from(config.output) } : {}),
    ...(config.emitQdq ? { emitQdq: from(config.emitQdq) } : {}),
  };
}
