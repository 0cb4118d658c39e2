/** The loader of a bundle: ESM and type declarations with literal shapes, written with ts-morph. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { ModelSpec, PortSpec } from '@bitloom/runtime';
import { ModuleKind, Project, ScriptTarget, VariableDeclarationKind, ts } from 'ts-morph';

const ARRAY_NAME: Readonly<Record<PortSpec['dtype'], string>> = {
  f32: 'Float32Array', f64: 'Float64Array', i8: 'Int8Array', i16: 'Int16Array', i32: 'Int32Array', i64: 'BigInt64Array',
  u8: 'Uint8Array', u16: 'Uint16Array', u32: 'Uint32Array', u64: 'BigUint64Array', bool: 'Uint8Array',
};

/** The runtime as plain JavaScript, so that a bundle has no dependency. */
function runtimeSource(): string {
  const text = readFileSync(createRequire(import.meta.url).resolve('@bitloom/runtime/source'), 'utf8');
  return ts.transpileModule(text, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 } }).outputText;
}

const key = (name: string): string => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));
const record = (ports: readonly PortSpec[], value: (p: PortSpec) => string): string => `{ ${ports.map((p) => `${key(p.name)}: ${value(p)}`).join('; ')} }`;

/** A name that npm accepts. */
const packageName = (name: string): string => name.toLowerCase().replace(/[^a-z0-9_.-]+/g, '-').replace(/^[-._]+/, '').slice(0, 214) || 'model';

/** What each thread but the first runs, in browsers and in Node. */
const WORKER = `const begin = async ({ module, memory, thread }, ready) => {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  ready();
  exports.worker(thread);
};
if (typeof WorkerGlobalScope === 'undefined') {
  const threads = 'node:worker_threads';
  const { parentPort, workerData } = await import(/* @vite-ignore */ /* webpackIgnore: true */ threads);
  begin(workerData, () => parentPort.postMessage(0));
} else self.onmessage = (e) => begin(e.data, () => self.postMessage(0));
`;

/** `worker.js` where a module is for several threads, `index.js`, `index.d.ts`, `runtime.js`, `package.json`. @param weights file of the weights */
export function writeLoader(name: string, spec: ModelSpec, weights: string): ReadonlyMap<string, string> {
  const project = new Project({ useInMemoryFileSystem: true, compilerOptions: { target: ScriptTarget.ES2022, module: ModuleKind.ES2022 } });
  const modules = spec.modules.map((m) => m.file);
  const threads = spec.modules.some((m) => m.threads);
  // Bundlers know this form.
  const url = (file: string): string => `new URL(${JSON.stringify(`./${file}`)}, import.meta.url)`;
  const js = project.createSourceFile('index.js', '', { overwrite: true });
  js.addImportDeclaration({ namedImports: ['instantiate'], moduleSpecifier: './runtime.js' });
  const ports = (list: readonly PortSpec[]): string => JSON.stringify(Object.fromEntries(list.map((p) => [p.name, { dtype: p.dtype, shape: p.shape }])));
  js.addVariableStatement({
    declarationKind: VariableDeclarationKind.Const, isExported: true, declarations: [{ name: 'inputs', initializer: ports(spec.inputs) }],
  });
  js.addVariableStatement({
    declarationKind: VariableDeclarationKind.Const, isExported: true, declarations: [{ name: 'outputs', initializer: ports(spec.outputs) }],
  });
  js.addVariableStatement({ declarationKind: VariableDeclarationKind.Const, declarations: [{ name: 'spec', initializer: JSON.stringify(spec) }] });
  js.addFunction({
    name: 'load', isExported: true, parameters: [{ name: 'sources' }],
    statements: `return instantiate(spec, { wasm: [${modules.map(url).join(', ')}], weights: ${url(weights)}${
      threads ? `, threads: { file: ${url('worker.js')}, worker: () => new Worker(${url('worker.js')}, { type: 'module' }) }` : ''
    } }, sources);`,
  });
  js.formatText();

  const dts = project.createSourceFile('index.d.ts', '', { overwrite: true });
  const declare = (what: 'Inputs' | 'Outputs', list: readonly PortSpec[]): void => {
    dts.addInterface({
      name: what, isExported: true,
      properties: list.map((p) => ({
        name: key(p.name), type: ARRAY_NAME[p.dtype], isReadonly: true, docs: [`${p.dtype} [${p.shape.join(', ')}], row-major`],
      })),
    });
    dts.addVariableStatement({
      declarationKind: VariableDeclarationKind.Const, isExported: true, hasDeclareKeyword: true,
      declarations: [{
        name: what.toLowerCase(), type: record(list, (p) => `{ readonly dtype: '${p.dtype}'; readonly shape: readonly [${p.shape.join(', ')}] }`),
      }],
    });
  };
  declare('Inputs', spec.inputs);
  declare('Outputs', spec.outputs);
  const run = { name: 'run', parameters: [{ name: 'inputs', type: 'Inputs' }], returnType: 'Outputs', docs: ['Runs the network once; returns fresh arrays.'] };
  const dispose = { name: 'dispose', returnType: 'void', docs: ['Ends the other threads, if there are any.'] };
  dts.addInterface({ name: 'Model', isExported: true, methods: [run, dispose] });
  dts.addInterface({
    name: 'Sources', isExported: true,
    properties: [
      // Response and WebAssembly.Module are types of the DOM library, which servers compile without.
      { name: 'wasm', hasQuestionToken: true, isReadonly: true, type: 'object', docs: [
        `The module: bytes, a Response, or a WebAssembly.Module${modules.length > 1 ? ` of ${modules[modules.length - 1]}, or a function that gives that of the file it is asked for` : ''}.`,
      ] },
      { name: 'weights', hasQuestionToken: true, isReadonly: true, type: 'ArrayBuffer | Uint8Array' },
      ...(threads ? [{ name: 'threads', hasQuestionToken: true, isReadonly: true, type: 'boolean', docs: ['False: one thread, even where there could be more.'] }] : []),
    ],
  });
  dts.addFunction({
    name: 'load', isExported: true, hasDeclareKeyword: true, parameters: [{ name: 'sources', hasQuestionToken: true, type: 'Sources' }],
    returnType: 'Promise<Model>', docs: ['Loads the module and the weights from beside this file, or from `sources`.'],
  });
  dts.formatText();

  const pkg = {
    name: packageName(name), version: '0.0.0', private: true, type: 'module', sideEffects: false,
    exports: {
      '.': { types: './index.d.ts', default: './index.js' },
      ...Object.fromEntries([...modules, weights, 'manifest.json'].map((f) => [`./${f}`, `./${f}`])),
    },
  };
  return new Map([
    ...(threads ? [['worker.js', WORKER] as const] : []),
    ['index.js', js.getFullText()],
    ['index.d.ts', dts.getFullText()],
    ['runtime.js', runtimeSource()],
    ['package.json', `${JSON.stringify(pkg, null, 2)}\n`],
  ]);
}
