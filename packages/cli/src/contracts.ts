/** The `--json` contracts: every field of what a verb prints. docs/cli.md is made from them, tests hold the output to them. */

export interface Field {
  /** `layers[].name`; below a field of type `object` nothing is listed. */
  readonly path: string;
  readonly type: string;
  readonly about: string;
}

const field = (path: string, type: string, about: string): Field => ({ path, type, about });

const bits = [field('bits.weights', 'number', 'weight bits, average over parameters; 32 for floats'), field('bits.activations', 'number', 'bits of layer inputs, average over MACs')];
const found = (at: string): Field[] => [
  field(`${at}strategy`, 'string', '`uniform`, `random`, `mckp`, `ebs`, `assignment` or `none`'),
  field(`${at}objective`, 'number or null', 'predicted increase of the loss'),
  field(`${at}lowerBound`, 'number or null', 'LP relaxation of the search: nothing within the budget is below it'),
  field(`${at}gap`, 'number or null', 'how far the objective may lie above the best possible, relative; 0 where it is proven the best'),
];
const seconds = (at: string): Field => field(`${at}seconds`, 'number', 'time that the search took');
const budget = [
  field('budget', 'object or null', '`text`, `kind`, `limit`, `used` and `shown`: the budget and what of it is used, in bytes (size), BOPs (bops), weight bits (bits) or ns (latency)'),
];
const warnings = field('warnings[]', 'string', 'what should not be overlooked, such as calibration without data');
const layer = (at: string): Field[] => [
  field(`${at}name`, 'string', 'ONNX node'),
  field(`${at}op`, 'string', 'core operation: conv or linear'),
  field(`${at}weightBits`, 'number', 'bits of the weights; 32 for floats'),
  field(`${at}activationBits`, 'number', 'bits of the input; 32 for floats'),
];
const timing = [
  field('layers[].ns', 'number', 'predicted time of the layer, from measurements (bitloom tune) or estimated'),
  field('layers[].measured', 'boolean', 'whether this very call was timed'),
  field('layers[].runnerUp', 'string or null', 'next best kernel'),
  field('layers[].runnerUpNs', 'number or null', 'its time'),
];
const size = (at: string): Field[] => [field(`${at}macs`, 'number', 'multiply–accumulates'), field(`${at}params`, 'number', 'weight elements, bias excluded')];
const ports = (what: string): Field[] => [field(`${what}[].name`, 'string', 'ONNX name'), field(`${what}[].dtype`, 'string', '`f32`, `i64` …'), field(`${what}[].shape[]`, 'number', 'dimensions, batch first')];
const quantizedPorts = (what: string): Field[] => [
  ...ports(what),
  field(`${what}[].scale`, 'number or null', 'step of the first quantisation; null for floats'),
  field(`${what}[].zeroPoint`, 'number or null', 'its zero point'),
];

export const CONTRACTS = {
  compile: [
    field('bundle', 'string or null', 'folder written; null without `-o`'),
    field('qdq', 'string or null', 'file written by `--emit-qdq`'),
    field('targets[]', 'string', 'as asked for; `bytes.code` and `bytes.arena` are those of the first'),
    field('float.weightBytes', 'number', 'weights of the layers as f32'),
    field('bytes.weights', 'number', 'packed weights of the layers'),
    field('bytes.code', 'number', 'the WebAssembly modules, or the C source without weights'),
    field('bytes.arena', 'number', 'working memory'),
    field('bytes.live', 'number', 'largest set of buffers in use at one time: no arena is smaller'),
    field('latency', 'object', 'predicted ns of a run, by target and instruction set'),
    field('counted', 'string', 'the entry of `latency` that `layers` and a latency budget are of: of the first target, the best instruction set that `--costs` has times of'),
    ...bits,
    field('cost.bops', 'number', 'Σ MACs · weight bits · activation bits'),
    ...found('search.'),
    seconds('search.'),
    ...layer('layers[].'),
    field('layers[].kernel', 'string', 'family of the kernel, see docs/kernels.md, or `nest` for a plain loop nest'),
    ...timing,
    ...size('layers[].'),
    ...budget,
    field('calibration', 'object or null', '`data` (SHA-256 of the data, or `synthetic`), `samples`, `method`'),
    warnings,
  ],
  stopped: [field('phase', 'string', 'phase of the graph: float, candidates, chosen or calibrated'), field('ir', 'string', 'the graph as text')],
  finetune: [
    field('model', 'string or null', 'ONNX file written; null without `-o`'),
    field('steps', 'number', 'steps of an epoch'),
    field('epochs[].loss', 'number', 'mean over the epoch, in training'),
    field('epochs[].accuracy', 'number or null', 'share of right answers in training'),
    field('epochs[].evaluated', 'number or null', 'share of right answers on the data of `--eval`, after the epoch'),
    ...bits,
    field('seconds', 'number', 'time of this run, without what an interrupted one took'),
  ],
  study: [
    field('kind', 'string', '`study`'),
    field('schemaVersion', 'number', 'of this object, which is study.json'),
    field('generator', 'object', '`name`, `version`'),
    field('model', 'object', '`name`, `sha256`'),
    field('data', 'object', '`fingerprint` and `samples` of the training data'),
    field('eval', 'object', 'the same of the test data'),
    field('options', 'object', 'of the study, with defaults; `costs` is the SHA-256 of the file'),
    field('float', 'object', '`accuracy`, `loss`, `weightBytes`, `bops`, `bits`, `latency` of the float model'),
    ...['summary', 'cells'].flatMap((at) => [
      field(`${at}[].strategy`, 'string', 'name of the strategy; `uniform` for rows of a precision'),
      field(`${at}[].budget`, 'string or null', 'as given, in lower case; null for rows of a precision'),
      field(`${at}[].precision`, 'string or null', 'as given, in lower case; null for rows of a budget'),
    ]),
    field('summary[].cells', 'number', 'seeds of the row'),
    field('summary[].done', 'number', 'those that have a result'),
    field('summary[].accuracy', 'object or null', '`mean` and `spread` (sample standard deviation; null for one seed) over seeds, in percent'),
    field('summary[].untuned', 'object or null', 'the same before fine-tuning'),
    ...['weightBits', 'activationBits', 'weightBytes', 'bops'].map((name) => field(`summary[].${name}`, 'object or null', '`mean` and `spread`')),
    field('summary[].latency', 'object', '`mean` and `spread` of predicted ns, by target and instruction set'),
    field('cells[].seed', 'number', 'of everything drawn at random'),
    field('cells[].epochs', 'number', 'of fine-tuning'),
    field('cells[].status', 'string', '`done`, `infeasible` (the budget cannot be met), `failed` (training diverged) or `pending`'),
    field('cells[].error', 'object or null', '`code`, `message` and what else is known of an error, of cells without a result'),
    field('cells[].limit', 'number or null', 'the budget, in bytes (size), BOPs (bops), weight bits (bits) or ns (latency)'),
    field('cells[].used', 'number or null', 'what of it the bits use'),
    field('cells[].objective', 'number or null', 'predicted increase of the loss'),
    field('cells[].lowerBound', 'number or null', 'nothing within the budget is below it'),
    field('cells[].gap', 'number or null', 'how far the objective may lie above the best possible, relative'),
    field('cells[].bits', 'object or null', '`weights` and `activations`: averages over parameters and over MACs'),
    field('cells[].weightBytes', 'number or null', 'packed weights of the layers'),
    field('cells[].bops', 'number or null', 'Σ MACs · weight bits · activation bits'),
    field('cells[].latency', 'object or null', 'predicted ns of a run, by target and instruction set'),
    field('cells[].accuracy', 'number or null', 'share of right answers of the compiled bundle in percent'),
    field('cells[].loss', 'number or null', 'its mean cross-entropy in nats'),
    field('cells[].untuned', 'object or null', '`accuracy` and `loss` at the same bits without fine-tuning'),
    field('cells[].training[].loss', 'number', 'mean over an epoch of fine-tuning'),
    field('cells[].training[].accuracy', 'number or null', 'share of right answers in training'),
    field('cells[].assignment', 'object or null', 'the bits, as bitloom search writes them'),
  ],
  search: [
    ...found(''),
    seconds(''),
    field('assignment', 'string or null', 'file written; null without `-o`'),
    ...budget,
    ...bits,
    ...layer('layers[].'),
    ...size('layers[].'),
    field('pareto[].cost', 'number', 'in the unit of the budget'),
    field('pareto[].loss', 'number or null', 'predicted increase of the loss; null where the strategy predicts none'),
    field('pareto[].weightBits', 'number', 'average over parameters'),
    field('pareto[].activationBits', 'number', 'average over MACs'),
    field('trace', 'object or null', 'of strategies that train: `epochs` with `loss` and `validationLoss` in nats, expected `cost` and `entropy` in bits (0 where all bits are decided); `mixedLoss` and `chosenLoss` on the same validation samples, of the mixture that was trained and of the bits chosen from it'),
    warnings,
  ],
  tune: [
    field('costs', 'string or null', 'cost table written; null without `-o`'),
    field('machine', 'string', 'processor, engine or compiler, and version of Bitloom that the times are of'),
    field('targets[]', 'string', 'what was timed: the target, for C with the instruction set'),
    field('timed', 'number', 'times measured now: of a kernel at a shape and bits, or of a loop nest'),
    field('known', 'number', 'times that the table held before'),
    field('left', 'number', 'times for another run (`--max-time`)'),
    field('seconds', 'number', 'time that it took'),
    field('predictions[].target', 'string', 'as in `targets`'),
    field('predictions[].weightBits', 'number', 'the same bits everywhere; 32 for floats'),
    field('predictions[].activationBits', 'number', 'of activations'),
    field('predictions[].ns', 'number', 'predicted time of a run'),
  ],
  eval: [
    field('samples', 'number', 'samples evaluated'),
    field('top1', 'number or null', 'share of right answers in percent; null without labels'),
    field('loss', 'number or null', 'mean cross-entropy in nats; null without labels'),
    field('agreement', 'number or null', 'share of samples in percent whose largest output is that of the model of `--agree`'),
  ],
  verify: [
    field('vectors', 'number', 'samples compared'),
    field('layers', 'number', 'kernel calls compared on each sample that the reference ran'),
    field('mismatches', 'number', 'tensors that differ in any bit'),
    field('firstMismatch', 'object or null', '`vector`, `backend`, `layer` (call number; null for outputs), `node`, `index` (of the first element)'),
    field('backends[]', 'string', '`reference`, `wasm`, `wasm-relaxed` (the module for relaxed SIMD), `c`'),
    field('skipped[]', 'string', 'what could not be checked, and why'),
  ],
  bench: [
    field('model', 'string', 'name of the model'),
    field('engines[].engine', 'string', '`wasm`, `c`, or the package compared with'),
    field('engines[].detail', 'string or null', 'instruction set of a module, or that C chose; version of a package'),
    field('engines[].precision', 'string', '`bundle`; `f32` or `int8` for other packages'),
    field('engines[].iterations', 'number', 'runs measured'),
    field('engines[].best', 'number', 'median run of the fastest round in ns'),
    field('engines[].median', 'number', 'median over the rounds of their medians in ns'),
    field('profile[].engine', 'string', '`wasm` or `c`'),
    field('profile[].detail', 'string or null', 'as above'),
    field('profile[].calls[].call', 'number', 'kernel call'),
    field('profile[].calls[].node', 'string', 'ONNX node'),
    field('profile[].calls[].kernel', 'string', 'kernel, or `nest` for a plain loop nest'),
    field('profile[].calls[].min', 'number', 'shortest time in ns'),
    field('profile[].calls[].median', 'number', 'median time in ns'),
    field('profile[].calls[].share', 'number', 'of the sum of medians'),
    field('skipped[]', 'string', 'what could not be timed, and why'),
  ],
  inspectModel: [
    field('kind', 'string', '`model`'),
    field('name', 'string', 'file name'),
    field('sha256', 'string', 'of the file'),
    field('opset', 'number', 'ONNX operator set'),
    ...ports('inputs'),
    ...ports('outputs'),
    field('parameters', 'number', 'elements of all constants after simplification'),
    field('macs', 'number', 'multiply–accumulates of convolutions and matrix products'),
    field('ops', 'object', 'count by core operation after simplification'),
    field('layers[].name', 'string', 'ONNX node'),
    field('layers[].op', 'string', 'conv or linear'),
    ...['input', 'weights', 'output'].map((k) => field(`layers[].${k}[]`, 'number', `shape of its ${k}`)),
    ...size('layers[].'),
  ],
  inspectBundle: [
    field('kind', 'string', '`bundle`'),
    field('name', 'string', 'of the model'),
    field('model', 'object', '`name`, `sha256`, `opset`'),
    field('generator', 'object', '`name`, `version`'),
    field('targets[]', 'string', '`wasm`, `c`'),
    ...quantizedPorts('inputs'),
    ...quantizedPorts('outputs'),
    field('bytes', 'object', '`weights`, `code`, `arena`, `live` (largest set of buffers in use at one time), `floatWeights`'),
    field('latency', 'object', 'predicted ns of a run, by target'),
    ...bits,
    field('cost.bops', 'number', 'Σ MACs · weight bits · activation bits'),
    ...found('search.'),
    field('calibration', 'object or null', '`data` (SHA-256 of the data, or `synthetic`), `samples`, `method`'),
    field('preprocessing', 'object', 'how stored values become inputs, as given to compile'),
    ...layer('layers[].'),
    field('layers[].kernel', 'object', 'kernel by target'),
    field('layers[].cost', 'object', 'by target: predicted `ns`, whether `measured`, `runnerUp` and `runnerUpNs`'),
    ...size('layers[].'),
    field('layers[].bytes', 'number', 'packed weights'),
    field('files', 'object', 'bytes by path'),
  ],
  run: [
    field('output', 'string or null', 'file written; null without `-o`'),
    ...ports('outputs'),
    field('outputs[].data', 'array or null', 'values in row-major order (NaN and infinities as null, integers above 2^53 as strings); null with `-o`'),
  ],
  error: [
    field('error.code', 'string', 'see errors.md'),
    field('error.message', 'string', 'what is wrong'),
    field('error.node', 'string or null', 'ONNX node, file or option that it is about'),
    field('error.found', 'string or null', 'what was found'),
    field('error.expected', 'string or null', 'what was expected'),
    field('error.remedy', 'string or null', 'what to do'),
  ],
} as const satisfies Record<string, readonly Field[]>;

/** Leaf paths of a value in the notation of {@link Field.path}. */
function leaves(value: unknown, path: string, stop: ReadonlySet<string>): string[] {
  if (stop.has(path) || value === null || typeof value !== 'object') return [path];
  if (Array.isArray(value)) return [...new Set(value.flatMap((v) => leaves(v, `${path}[]`, stop)))];
  return Object.entries(value).flatMap(([k, v]) => leaves(v, path === '' ? k : `${path}.${k}`, stop));
}

/** What a printed object lacks of its contract, or has beyond it. Lists may be empty. */
export function breaches(contract: readonly Field[], printed: unknown): string[] {
  const listed = new Set(contract.map((f) => f.path));
  const open = new Set(contract.filter((f) => f.type.startsWith('object') || f.type.startsWith('array')).map((f) => f.path));
  const there = new Set(leaves(printed, '', open));
  return [
    ...[...there].filter((p) => !listed.has(p)).map((p) => `not in the contract: ${p}`),
    ...[...listed].filter((p) => !there.has(p) && !p.includes('[]')).map((p) => `missing: ${p}`),
  ];
}
