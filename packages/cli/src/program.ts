/** Verbs and flags, declared once: commander parses by them, and docs/cli.md is made from them. */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CompileConfig, type FinetuneConfig, type Hooks, type TuneConfig, PASSES, PHASES, type Phase, DEVICES, RANGE_METHODS, ROUNDINGS, STRATEGIES, TARGETS, VERSION, abandonOutput, compile, compileOptionsSchema, compileToText, evaluate, finetune, finetuneOptionsSchema, inspect, readConfig, readInputs, runBundle,
  search, searchConfigSchema, tune, verifyBundle, writeFileAtomic,
} from '@bitloom/compiler';
import { PEERS, type PeerName, benchBundle } from '@bitloom/bench';
import { BitloomError, fail, formatDiagnostic } from '@bitloom/diagnostics';
import { type StudyConfig, abandonStudy, failureOf, study } from '@bitloom/study';
import { type Tensor, writeNpy, writeNpz } from '@bitloom/tensor';
import { Command, Option } from 'commander';
import { bitList, integer, list, number, numbers, oneOf, pair, scoped } from './flags.js';
import type { Io } from './main.js';
import { type ProgressLine, progressLine } from './progress.js';
import { benchText, compileText, evalText, finetuneText, inspectText, runText, searchText, studyText, tuneText, verifyText } from './tables.js';

/** State of one invocation. */
export interface Session {
  exitCode: number;
  /** What the verb will write, for an interrupt. */
  output: string | null;
  /** Removes what of `output` is half-written. */
  abandon: (output: string) => void;
  readonly progress: ProgressLine;
}

/** What a verb gives: the object of `--json`, and the same for people. */
interface Result {
  readonly json: unknown;
  readonly text: string;
}

type Flags = Readonly<Record<string, unknown>>;

const EXIT_CODES = [
  [0, 'done'],
  [1, 'the model, the data or the bundle is at fault (E2xx to E4xx, E502, E6xx, E7xx)'],
  [2, 'the command line or the configuration file is at fault (E1xx)'],
  [3, 'no assignment meets the budget (E501); the message names the smallest that can be met'],
  [4, 'verification found a difference (E702)'],
  [130, 'interrupted; nothing half-written is left behind'],
] as const;
export const exitCodes: readonly (readonly [number, string])[] = EXIT_CODES;

const defaults = compileOptionsSchema.parse({});
const training = finetuneOptionsSchema.parse({ data: '-' });

const DATA_HELP = `images:DIR (one folder a class), idx:FILE (MNIST family), cifar10:FILE, npz:FILE
(arrays by input name, optionally labels), each gzipped or not; the kind may be left out where the path tells it`;

type Parser = (flag: string, text: string) => unknown;

function option(flags: string, about: string, parse?: Parser): Option {
  const o = new Option(flags, about);
  const flag = o.long ?? flags;
  return parse ? o.argParser((text: string) => parse(flag, text)) : o;
}

/** A flag that may be repeated. */
function repeated(flags: string, about: string, parse: Parser = (_, text) => text): Option {
  const o = new Option(flags, `${about} (may be repeated)`);
  return o.argParser((text: string, previous: unknown[] | undefined) => [...(previous ?? []), parse(o.long!, text)]);
}

const text: Parser = (_, t) => t;
const among = (choices: readonly string[]): Parser => (flag, t) => oneOf(flag, t, choices);

const common = (): Option[] => [
  option('--json', 'one JSON object on stdout, see docs/cli.md'),
  option('-q, --quiet', 'no progress; warnings and errors stay'),
  option('-v, --verbose', 'name each step as it ends'),
  option('--stack', 'stack trace with errors'),
];
const preprocessing = (): Option[] => [
  option('--scale <n>', 'multiplies stored values; 1/255 for images, 1 for arrays unless given', number),
  option('--mean <n,…>', 'subtracted after scaling: one number, or one a channel (default: 0)', numbers),
  option('--std <n,…>', 'divides after that: one number, or one a channel (default: 1)', numbers),
  option('--layout <layout>', 'where the model has its channels: nchw or nhwc (default: from its input shape)', among(['nchw', 'nhwc'])),
  option('--channels <order>', 'order that the model wants: rgb, bgr or gray (default: rgb)', among(['rgb', 'bgr', 'gray'])),
  option('--resize <how>', 'images of another size: stretch, or shorter (cover, then crop the centre)', among(['stretch', 'shorter'])),
];
const define = (): Option => repeated('--define <name=n>', 'size of a symbolic dimension', (flag, t) => {
  const [name, n] = pair(flag, t);
  return [name, integer(flag, n, 1)];
});
const batch = (): Option => option('--batch <n>', 'samples of a run: inputs and outputs become [n, …] (default: that of the model; 1 where it is symbolic)', (f, t) => integer(f, t, 1));
const config = (): Option => option('--config <file>', 'JSON with the same options (default: bitloom.config.json in this folder, if there is one)', text);

/** Flags that `compile` and `search` share, by heading. */
const searching = (): Readonly<Record<string, readonly Option[]>> => ({
  'Data:': [
    option('--calib <data>', 'calibration data; without it inputs are random and accuracy is unknown', text),
    option('--samples <n>', `samples of it that are used, drawn at random (default: ${defaults.samples})`, (f, t) => integer(f, t, 1)),
    ...preprocessing(),
    define(),
    batch(),
  ],
  'Bits:': [
    option('--budget <kind=limit>', 'size=40kB, size=12.5% (of float weights), bops=2G, bops=25% (of W8A8), bits=4 (average), latency=3ms, latency=60% (of W8A8); size=50%w8a8 and bops=1%float name what the share is of', text),
    option('--precision <p>', 'the same everywhere: w4a8, or f32', text),
    option('--weights <bits,…>', 'candidates for weights, 1 to 8 (default: 2 to 8 with a budget, else 8)', bitList),
    option('--activations <bits,…>', 'candidates for what layers read, 1 to 8 (default: 8)', bitList),
    option('--strategy <name>', `${[...STRATEGIES.keys()].join(' or ')} (default: mckp with a budget, else uniform)`, among([...STRATEGIES.keys()])),
    repeated('--strategy-option <key=value>', 'option of the strategy; mckp: solver=exact or greedy; ebs: mode=det or sto, epochs, batch, rate, strengthRate, lambda, penalty=l1, hinge or linear, share, crop, flip, distillation, temperature', pair),
    repeated('--pin <node=bits>', 'fixes a layer: conv1=w8a8, conv1=w4 or conv1=a8'),
    option('--free-ends', 'first and last layer are not pinned to 8 bits'),
    option('--seed <n>', `of everything drawn at random (default: ${defaults.seed})`, (f, t) => integer(f, t)),
    option('--costs <file>', 'times measured by bitloom tune: for the choice of kernels and latency budgets (default: times of a reference machine)', text),
  ],
  'Calibration:': [
    option('--calibration <method>', `ranges of activations: ${RANGE_METHODS.join(', ')} (default: ${defaults.calibration})`, among(RANGE_METHODS)),
    option('--percentile <p>', `for percentile, 50 to 100 (default: ${defaults.percentile})`, number),
    option('--symmetric', 'activation ranges symmetric about zero'),
    option('--no-bias-correction', 'leaves biases as they are'),
    option('--rounding <how>', `of weights: ${ROUNDINGS.join(' or ')}, which learns it from the output error of each layer (default: ${defaults.rounding})`, among(ROUNDINGS)),
    option('--equalize', 'scales neighbouring layers so that both have the same ranges of weights a channel'),
  ],
});

/** How fine-tuning learns. */
const learning = (): Option[] => [
  option('--batch <n>', `samples of a step (default: ${training.batch})`, (f, t) => integer(f, t, 1)),
  option('--rate <n>', `learning rate of SGD with momentum, which falls to 0 along a cosine (default: ${training.rate}, for two and three bits; 0.002 serves four and more)`, number),
  option('--step-rate <n>', `factor of it for quantisation steps (default: ${training.stepRate})`, number),
  option('--warm-up <share>', `share of the run in which the rate rises (default: ${training.warmUp})`, number),
  option('--clip <n>', `length to which longer gradients are shortened; 0 leaves them (default: ${training.clip})`, number),
  option('--decay <n>', `weight decay (default: ${training.decay})`, number),
  option('--smoothing <n>', `label smoothing, 0 to 1, of the share of the loss that --distillation leaves to labels (default: ${training.smoothing})`, number),
  option('--distillation <share>', `share of the loss that is the distance from the float model's answers, 0 to 1 (default: ${training.distillation})`, number),
  option('--temperature <t>', `of distillation (default: ${training.temperature})`, number),
  option('--device <device>', `${DEVICES.join(', ')}: what trains, as far as onnxruntime offers it (default: ${training.device})`, among(DEVICES)),
];

/** Changes of training images at random. */
const augmentation = (): Option[] => [
  option('--crop <pixels>', 'training images are moved at random by up to so many pixels (default: 0)', (f, t) => integer(f, t, 0)),
  option('--flip', 'training images are mirrored at random, left to right'),
];

const targetOf = (): Option => option('--target <target>', 'of a bundle with both: wasm (the fastest module that runs here) or c (default: wasm)', among(['wasm', 'c']));

export function defineProgram(io: Io): { program: Command; session: Session } {
  const progress = progressLine(io.err, io.tty);
  const session: Session = { exitCode: 0, output: null, abandon: abandonOutput, progress };

  const program = new Command('bitloom')
    .description('Compiles float ONNX networks to mixed-precision bundles that run as WebAssembly and as C with identical bits.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [verb]', 'print the help of a verb')
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: () => {} })
    .showSuggestionAfterError(true)
    .addHelpText('after', `
Example:
  bitloom compile net.onnx --calib images:train --budget size=12.5% --target wasm --target c -o dist/net
  bitloom verify dist/net
  bitloom eval dist/net --data images:test

Exit codes:
${EXIT_CODES.map(([code, meaning]) => `  ${String(code).padEnd(4)} ${meaning}`).join('\n')}

Results go to stdout, everything else to stderr. bitloom VERB --help tells more.`);

  const log = (line: string): void => {
    progress.clear();
    io.err(`${line}\n`);
  };

  /** A verb with its flags; `act` does the work, the rest is the same for all. */
  const verb = <A extends string | undefined = string>(
    name: string, argument: readonly [string, string], about: string, groups: Readonly<Record<string, readonly Option[]>>, help: string,
    act: (path: A, flags: Flags, hooks: Hooks) => Promise<Result>,
  ): void => {
    const command = program.command(name).description(about).argument(...argument).helpOption('-h, --help', 'print this help');
    for (const [heading, options] of Object.entries({ ...groups, 'Output:': [...(groups['Output:'] ?? []), ...common()] })) {
      for (const o of options) command.addOption(o.helpGroup(heading));
    }
    command.addHelpText('after', `\n${help}`);
    command.action(async (path: A, flags: Flags) => {
      if (flags.quiet && flags.verbose) fail('E103', '--quiet and --verbose exclude each other');
      const started = performance.now();
      const printed = new Set((flags.printIrAfter as string[] | undefined) ?? []);
      const result = await act(path, flags, {
        progress: (step, done, total) => {
          io.signal?.throwIfAborted();
          if (!flags.quiet) progress.update(step, done, total);
        },
        warn: (w) => log(`WARNING: ${w}`),
        afterPass: (pass, ir) => {
          io.signal?.throwIfAborted();
          if (flags.verbose) log(`${((performance.now() - started) / 1000).toFixed(2).padStart(8)} s  ${pass}`);
          if (printed.has(pass) || printed.has('all')) log(`// after ${pass}\n${ir()}`);
        },
      });
      progress.clear();
      if (flags.verbose) log(`${((performance.now() - started) / 1000).toFixed(2).padStart(8)} s  done`);
      io.out(flags.json ? `${JSON.stringify(result.json)}\n` : `${result.text}\n`);
    });
  };

  verb('compile', ['<model>', 'ONNX file'], 'compile an ONNX file to a bundle', {
    'Output:': [
      option('-o, --output <folder>', 'where the bundle goes; without it only the report is made', text),
      option('--threads <n>', 'also for so many threads: WebAssembly modules that the loader takes where memory can be shared, a function that takes a thread pool in C (default: 1)', (f, t) => integer(f, t, 1)),
      repeated('--target <target>', `${TARGETS.join(', ')}; wasm is the modules of wasm-simd128 and wasm-relaxed, of which the loader takes the one that fits (default: wasm)`, among(TARGETS)),
      option('--c-name <name>', `prefix of the C files and functions (default: ${defaults.cName})`, text),
      option('--emit-qdq <file>', 'also the quantised network as ONNX, with QuantizeLinear and DequantizeLinear, as onnxruntime runs it in integers', text),
      config(),
    ],
    ...searching(),
    'Compiler:': [
      option('--assignment <file>', 'bits from bitloom search -o', text),
      repeated('--print-ir-after <pass>', `graph on stderr after ${PASSES.join(', ')} or all`, among([...PASSES, 'all'])),
      option('--stop-after <phase>', `prints the graph of a phase (${PHASES.join(', ')}) and makes no bundle; -o names a text file`, among(PHASES)),
    ],
  }, `Data is ${DATA_HELP}.

Examples:
  bitloom compile net.onnx --calib images:train --mean .485,.456,.406 --std .229,.224,.225 --budget bits=4 -o dist/net
  bitloom compile net.onnx --calib train.npz --precision w8a8 --target wasm --target c -o dist/net
  bitloom compile net.onnx --assignment net.assignment.json --calib train.npz -o dist/net
  bitloom compile net.onnx --precision f32 --define batch=8 -o dist/net-float`,
  async (path, flags, hooks) => {
    const options = await configured(flags);
    if (flags.stopAfter !== undefined) {
      session.output = options.output ?? null;
      const stage = await compileToText(path, options, flags.stopAfter as Phase, hooks);
      if (options.output != null) await writeFileAtomic(options.output, stage.ir);
      return { json: stage, text: options.output == null ? stage.ir.trimEnd() : options.output };
    }
    session.output = options.output ?? null;
    const report = await compile(path, options, hooks);
    return { json: report, text: compileText(report) };
  });

  verb('search', ['<model>', 'ONNX file'], 'choose bits under a budget; print the Pareto front', {
    'Output:': [option('-o, --output <file>', 'where the assignment goes: JSON, for review and for compile --assignment', text),
      repeated('--target <target>', `whose latency counts: ${TARGETS.join(', ')} (default: wasm)`, among(TARGETS)), config()],
    ...searching(),
  }, `Data is ${DATA_HELP}.

Examples:
  bitloom search net.onnx --calib images:train --budget bits=4 -o net.assignment.json
  bitloom search net.onnx --calib train.npz --budget size=40kB --weights 1,2,4,8 --pin conv1=w8a8
  bitloom search net.onnx --calib train.npz --budget bops=25% --activations 4,8 --json`,
  async (path, flags, hooks) => {
    const known = new Set(Object.keys(searchConfigSchema.shape));
    const all = Object.entries(await configured(flags)).filter(([key]) => known.has(key));
    // The output of a configuration file is that of compile.
    const options = { ...Object.fromEntries(all), output: (flags.output as string | undefined) ?? null };
    session.output = options.output;
    const report = await search(path, options, hooks);
    return { json: report, text: searchText(report) };
  });

  verb('finetune', ['<model>', 'ONNX file of a classifier'], 'train a model at given bits; compile takes the result with its learnt steps', {
    'Output:': [
      option('-o, --output <file>', 'where the fine-tuned model goes: ONNX', text),
      option('--checkpoint <file>', 'state of the run, from which the same command goes on (default: the output with .checkpoint)', text),
    ],
    'Data:': [
      option('--data <data>', 'labelled training data', text).makeOptionMandatory(),
      option('--eval <data>', 'labelled data on which the quantised network is evaluated after each epoch, for the report alone', text),
      option('--samples <n>', `samples for calibration before training, drawn at random (default: ${defaults.samples})`, (f, t) => integer(f, t, 1)),
      ...augmentation(),
      ...preprocessing(),
      define(),
    ],
    'Bits:': [
      option('--assignment <file>', 'bits from bitloom search -o', text),
      option('--precision <p>', 'the same everywhere: w2a2', text),
      repeated('--pin <node=bits>', 'fixes a layer, with --precision: conv1=w8a8, conv1=w4 or conv1=a8'),
      option('--free-ends', 'first and last layer are not pinned to 8 bits'),
      option('--rounding <how>', `of the weights that training begins with: ${ROUNDINGS.join(' or ')} (default: ${training.rounding})`, among(ROUNDINGS)),
    ],
    'Training:': [
      option('--epochs <n>', `passes over the data (default: ${training.epochs})`, (f, t) => integer(f, t, 1)),
      ...learning(),
      option('--seed <n>', `of everything drawn at random (default: ${training.seed})`, (f, t) => integer(f, t)),
    ],
  }, `Data is ${DATA_HELP}.
A run that is interrupted goes on where it was when the same command is given again, to the same result.

Examples:
  bitloom finetune net.onnx --precision w4a4 --data images:train --epochs 3 --crop 4 --flip -o net.w4a4.onnx
  bitloom finetune net.onnx --assignment net.assignment.json --data train.npz --eval test.npz -o net.tuned.onnx
  bitloom compile net.tuned.onnx -o dist/net`,
  async (path, flags, hooks) => {
    session.output = (flags.output as string | undefined) ?? null;
    const { define: defined, json: _, quiet: __, verbose: ___, stack: ____, scale, mean, std, layout, channels, resize, ...rest } = flags;
    const report = await finetune(path, given({
      ...rest, define: Object.fromEntries((defined as [string, number][] | undefined) ?? []),
      preprocessing: given({ scale, mean, std, layout, channels, resize }),
    }) as FinetuneConfig, hooks);
    if (report.model === null) hooks.warn!('the trained model is not kept: give -o FILE');
    return { json: report, text: finetuneText(report) };
  });

  const strategies = [...STRATEGIES.keys()];
  verb('study', ['<model>', 'ONNX file of a classifier'], 'compare strategies at budgets over seeds: tables and plots of accuracy against cost', {
    'Output:': [
      option('-o, --output <folder>', 'where the study goes; one that is there is gone on with', text).makeOptionMandatory(),
      repeated('--target <target>', `whose code is made and whose latency is predicted: ${TARGETS.join(', ')} (default: wasm)`, among(TARGETS)),
    ],
    'Study:': [
      option('--strategies <names,…>', strategies.join(', '), (flag, t) => list(t).map((n) => oneOf(flag, n, strategies))),
      option('--budgets <kind=limit,…>', 'limits that each strategy is run at, as --budget of search', (_, t) => list(t)),
      option('--precisions <p,…>', 'rows with the same bits everywhere: w2a2,w4a4', (_, t) => list(t)),
      option('--seeds <n,…>', 'runs of each row; tables show mean and sample standard deviation (default: 0)', (flag, t) => list(t).map((n) => integer(flag, n))),
      repeated('--strategy-option <strategy.key=value>', 'option of one strategy: mckp.solver=greedy', scoped),
    ],
    'Data:': [
      option('--data <data>', 'training data, which searches, calibration and fine-tuning see', text).makeOptionMandatory(),
      option('--eval <data>', 'labelled data on which accuracy is measured, and nothing else', text).makeOptionMandatory(),
      option('--samples <n>', `samples for search and calibration, drawn at random (default: ${defaults.samples})`, (f, t) => integer(f, t, 1)),
      option('--label-offset <n>', 'added to the predicted class before it is compared; -1 for models whose class 0 is background (default: 0)', (f, t) => integer(f, t)),
      ...augmentation(),
      ...preprocessing(),
      define(),
    ],
    'Bits:': [
      option('--weights <bits,…>', 'candidates for weights, 1 to 8 (default: those of each strategy)', bitList),
      option('--activations <bits,…>', 'candidates for what layers read, 1 to 8 (default: those of each strategy)', bitList),
      repeated('--pin <node=bits>', 'fixes a layer: conv1=w8a8, conv1=w4 or conv1=a8'),
      option('--free-ends', 'first and last layer are not pinned to 8 bits'),
      option('--rounding <how>', `of weights, before fine-tuning: ${ROUNDINGS.join(' or ')} (default: ${defaults.rounding})`, among(ROUNDINGS)),
      option('--costs <file>', 'times measured by bitloom tune (default: times of a reference machine)', text),
    ],
    'Training:': [
      option('--epochs <n>', 'of fine-tuning at the bits found (default: 0, none)', (f, t) => integer(f, t, 0)),
      repeated('--finetune-epochs <strategy=n>', 'the same for one strategy, such as one that trains while it searches', (flag, t) => {
        const [name, n] = pair(flag, t);
        return [oneOf(flag, name, strategies), integer(flag, n, 0)];
      }),
      ...learning(),
    ],
  }, `Data is ${DATA_HELP}.
Every strategy runs at every budget with every seed: search, fine-tuning where asked for, compilation, and evaluation of the compiled bundle. The
float model is a row of its own. What is done is kept: a study that was interrupted, or is asked for more, is gone on with by the same command.
Written are study.json, .csv, .md and .html, three plots as SVG, times.json, and below cells/ all that was made. Budgets that cannot be met
are rows without a result; the exit code tells of them where no cell has one.

Examples:
  bitloom study net.onnx --data images:train --eval images:test --strategies uniform,random,mckp --budgets bops=3%,bops=6% --weights 2,3,4,8 --activations 2,3,4,8 -o study
  bitloom study net.onnx --data train.npz --eval test.npz --strategies mckp --budgets size=12.5% --precisions w2a2,w4a4 --seeds 0,1,2 --epochs 5 --crop 4 --flip -o study`,
  async (path, flags, hooks) => {
    session.output = flags.output as string;
    session.abandon = abandonStudy;
    const byStrategy = (flags.strategyOption as [string, string, string][] | undefined) ?? [];
    const { batch, rate, stepRate, warmUp, clip, decay, smoothing, distillation, temperature, device, crop, flip } = flags;
    const report = await study(path, given({
      data: flags.data, eval: flags.eval, strategies: flags.strategies, budgets: flags.budgets, precisions: flags.precisions, seeds: flags.seeds, epochs: flags.epochs,
      strategyOptions: Object.fromEntries(byStrategy.map(([name]) => [name, Object.fromEntries(byStrategy.filter(([n]) => n === name).map(([, k, v]) => [k, literal(v)]))])),
      finetuneEpochs: Object.fromEntries((flags.finetuneEpochs as [string, number][] | undefined) ?? []),
      training: given({ batch, rate, stepRate, warmUp, clip, decay, smoothing, distillation, temperature, device, crop, flip }),
      define: Object.fromEntries((flags.define as [string, number][] | undefined) ?? []), preprocessing: preprocessingOf(flags), samples: flags.samples, labelOffset: flags.labelOffset,
      weights: flags.weights, activations: flags.activations, pin: flags.pin, freeEnds: flags.freeEnds, rounding: flags.rounding, costs: flags.costs, target: flags.target, output: flags.output,
    }) as StudyConfig, { ...hooks, cell: (line) => { if (!flags.quiet) log(line); } });
    const failure = failureOf(report);
    if (failure) {
      session.exitCode = new BitloomError(failure).exitCode;
      log(formatDiagnostic(failure));
    }
    return { json: report, text: studyText(report, flags.output as string) };
  });

  verb<string | undefined>('tune', ['[model]', 'ONNX file; without one typical layers are timed, and costs of any model are estimated from them'], 'time kernels on this machine, for --costs', {
    'Output:': [
      option('-o, --output <file>', 'cost table: JSON; one that is there is gone on with', text),
      option('--target <target>', `what is timed: ${TARGETS.join(', ')} (default: wasm)`, among(TARGETS)),
      repeated('--isa <name>', 'of C: portable, avx2, avx512 or neon (default: the best of this machine)'),
    ],
    'Times:': [
      option('--weights <bits,…>', 'bits of weights that are timed, 8 and f32 always among them (default: 2 to 8; without a model 1 to 8)', bitList),
      option('--activations <bits,…>', 'bits of activations, 8 always among them (default: 8; without a model 1 to 8)', bitList),
      define(),
      batch(),
      option('--again', 'times what the table knows, too'),
      option('--max-time <seconds>', 'begins nothing new after that; another run goes on', number),
    ],
  }, `Every kernel that can run a layer is timed within the whole network, in turns, one thread. The table is written as it grows: a run that is
interrupted is gone on with by the same command. It holds for one machine and engine or compiler; compile and search take it with --costs.

Examples:
  bitloom tune net.onnx -o costs.json
  bitloom tune net.onnx --target c --weights 2,4,8 --activations 4,8 -o costs.json
  bitloom tune --target wasm --max-time 600 -o machine.json
  bitloom compile net.onnx --calib train.npz --budget latency=60% --costs costs.json -o dist/net`,
  async (path, flags, hooks) => {
    const output = (flags.output as string | undefined) ?? null;
    session.output = output;
    const report = await tune(path ?? null, given({
      target: flags.target, isa: flags.isa, weights: flags.weights, activations: flags.activations, again: flags.again, maxSeconds: flags.maxTime, batch: flags.batch,
      define: Object.fromEntries((flags.define as [string, number][] | undefined) ?? []), output,
    }) as TuneConfig, hooks);
    if (output === null) hooks.warn!('the times are not kept: give -o FILE');
    if (report.left > 0) hooks.warn!(`${report.left} times are left: run the same command again`);
    return { json: report, text: tuneText(report) };
  });

  verb('eval', ['<model-or-bundle>', 'ONNX file (float, on onnxruntime) or bundle folder'], 'measure accuracy on labelled data', {
    'Data:': [
      option('--data <data>', 'what to evaluate on', text).makeOptionMandatory(),
      option('--samples <n>', 'that many, drawn at random (default: all)', (f, t) => integer(f, t, 1)),
      option('--seed <n>', 'of the draw (default: 0)', (f, t) => integer(f, t)),
      option('--label-offset <n>', 'added to the predicted class before it is compared; -1 for models whose class 0 is background (default: 0)', (f, t) => integer(f, t)),
      option('--agree <model>', 'ONNX file with which a bundle is compared, such as that of compile --emit-qdq: share of samples with the same largest output', text),
      ...preprocessing(),
      define(),
    ],
    'Output:': [targetOf(), config()],
  }, `Data is ${DATA_HELP}.
A bundle remembers its preprocessing; flags go over it.

Examples:
  bitloom eval net.onnx --data images:test --mean .485,.456,.406 --std .229,.224,.225
  bitloom eval dist/net --data images:test
  bitloom eval dist/net --data test.npz --target c --json`,
  async (path, flags, hooks) => {
    const bundle = await stat(path).then((s) => s.isDirectory(), () => false);
    const options = bundle ? { define: {}, preprocessing: preprocessingOf(flags) } : await configured(flags);
    const report = await evaluate(path, {
      data: flags.data as string, preprocessing: options.preprocessing ?? null, define: options.define ?? {}, samples: (flags.samples as number | undefined) ?? null,
      seed: (flags.seed as number | undefined) ?? 0, target: (flags.target as 'wasm' | 'c' | undefined) ?? null, labelOffset: (flags.labelOffset as number | undefined) ?? 0, agree: (flags.agree as string | undefined) ?? null,
    }, hooks.progress);
    if (report.top1 === null) hooks.warn!('the data has no labels: accuracy is unknown');
    return { json: report, text: evalText(report) };
  });

  verb('verify', ['<bundle>', 'bundle folder'], 'check that WebAssembly, C and the reference agree, layer by layer, bit for bit', {
    'Data:': [
      option('--data <data>', 'samples to run (default: the vectors recorded in the bundle)', text),
      option('--samples <n>', 'the first n of them (default: all)', (f, t) => integer(f, t, 1)),
      option('--reference <n>', 'on how many of them the slow reference runs too (default: 100)', (f, t) => integer(f, t, 0)),
    ],
  }, `Exits with 4 on a difference. C is compiled with $CC, cc, gcc or clang; without one it is skipped, and the report says so.
What runs is the bundle's own code: verify, run and eval only bundles that you trust.

Examples:
  bitloom verify dist/net
  bitloom verify dist/net --data images:test --reference 20`,
  async (path, flags, hooks) => {
    const report = await verifyBundle(path, { data: (flags.data as string | undefined) ?? null, reference: (flags.reference as number | undefined) ?? 100, limit: (flags.samples as number | undefined) ?? null }, hooks.progress);
    report.skipped.forEach((s) => hooks.warn!(`not checked: ${s}`));
    if (report.mismatches > 0) {
      session.exitCode = 4;
      const m = report.firstMismatch!;
      log(formatDiagnostic({ code: 'E702', message: 'verification mismatch', node: m.node, found: `${m.backend} differs at element ${m.index} of vector ${m.vector}`, expected: 'identical bits', remedy: 'report it, with the model' }));
    }
    return { json: report, text: verifyText(report) };
  });

  verb('bench', ['<bundle>', 'bundle folder'], 'time a bundle, beside onnxruntime where asked, and call by call', {
    'Engines:': [
      option('--against <names,…>', `${PEERS.join(', ')}: packages of this folder or of Bitloom, one thread each`, (flag, t) => t.split(',').map((n) => oneOf(flag, n.trim(), PEERS))),
      option('--model <file>', 'ONNX file of the network, which they run', text),
      option('--qdq <file>', 'the same from compile --precision w8a8 --emit-qdq, which they run in integers', text),
      repeated('--beside <folder>', 'another bundle, such as that at W8A8, timed in the same rounds'),
    ],
    'Measurement:': [
      option('--rounds <n>', 'in which engines take turns (default: 9)', (f, t) => integer(f, t, 1)),
      option('--clock <clock>', 'wall, or cpu: time that an engine computes, for machines with other work to do (default: wall)', among(['wall', 'cpu'])),
      option('--profile', 'time of each kernel call, too'),
    ],
  }, `Every engine runs the first sample recorded in the bundle. C is compiled with $CC, cc, gcc or clang; without one it is skipped.
What runs is the bundle's own code: time only bundles that you trust.

Examples:
  bitloom bench dist/net --profile
  bitloom bench dist/net --beside dist/net-w8a8
  bitloom bench dist/net --against onnxruntime-web,onnxruntime-node --model net.onnx
  bitloom compile net.onnx --calib train.npz --precision w8a8 --emit-qdq net.qdq.onnx
  bitloom bench dist/net --against onnxruntime-web --model net.onnx --qdq net.qdq.onnx --json`,
  async (path, flags, hooks) => {
    const report = await benchBundle(path, {
      against: (flags.against as PeerName[] | undefined) ?? [], model: (flags.model as string | undefined) ?? null, qdq: (flags.qdq as string | undefined) ?? null,
      beside: (flags.beside as string[] | undefined) ?? [], profile: flags.profile === true, rounds: (flags.rounds as number | undefined) ?? 9, roundMs: 20, clock: (flags.clock as 'wall' | 'cpu' | undefined) ?? 'wall',
      folder: process.cwd(), progress: (done, total) => hooks.progress!('rounds', done, total),
    });
    report.skipped.forEach((s) => hooks.warn!(`not timed: ${s}`));
    return { json: report, text: benchText(report) };
  });

  verb('inspect', ['<model-or-bundle>', 'ONNX file or bundle folder'], 'show operations, shapes, parameters, MACs; bits and kernels of a bundle', {
    'Data:': [define()],
  }, `Examples:
  bitloom inspect net.onnx
  bitloom inspect net.onnx --define height=224 --define width=224
  bitloom inspect dist/net --json`,
  async (path, flags) => {
    const report = await inspect(path, Object.fromEntries((flags.define as [string, number][] | undefined) ?? []));
    return { json: report, text: inspectText(report) };
  });

  verb('run', ['<bundle>', 'bundle folder'], 'run a bundle on numpy arrays', {
    'Data:': [repeated('--input <file>', 'x.npy, NAME=x.npy for one of several inputs, or x.npz with arrays by input name').makeOptionMandatory()],
    'Output:': [option('-o, --output <file>', 'y.npy, or y.npz with arrays by output name', text), targetOf()],
  }, `Arrays are what the network takes (no preprocessing), of its shape, or several samples stacked in the first dimension.

Examples:
  bitloom run dist/net --input x.npy -o y.npy
  bitloom run dist/net --input image=x.npy --input mask=m.npy --json`,
  async (path, flags) => {
    const output = (flags.output as string | undefined) ?? null;
    session.output = output;
    const outputs = await runBundle(path, await readInputs(path, flags.input as string[]), (flags.target as 'wasm' | 'c' | undefined) ?? null);
    if (output !== null) await writeFileAtomic(output, arrayFile(output, outputs));
    return {
      json: { output, outputs: [...outputs].map(([name, t]) => ({ name, dtype: t.dtype, shape: t.shape, data: output === null ? plainValues(t) : null })) },
      text: output ?? runText(outputs),
    };
  });

  return { program, session };
}

function arrayFile(path: string, outputs: ReadonlyMap<string, Tensor>): Uint8Array {
  if (/\.npz$/i.test(path)) return writeNpz(outputs);
  if (outputs.size !== 1) fail('E103', 'several outputs need an npz file', { node: path, found: [...outputs.keys()].join(', '), remedy: '-o FILE.npz' });
  return writeNpy([...outputs.values()][0]);
}

const plainValues = (t: Tensor): (number | string)[] =>
  Array.from(t.data as Iterable<number | bigint>, (v) => (typeof v === 'number' || Number.isSafeInteger(Number(v)) ? Number(v) : String(v)));

const given = <T extends object>(o: T): Partial<T> => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)) as Partial<T>;

const preprocessingOf = (f: Flags): Preprocessing => given({ scale: f.scale, mean: f.mean, std: f.std, layout: f.layout, channels: f.channels, resize: f.resize }) as Preprocessing;

type Preprocessing = NonNullable<CompileConfig['preprocessing']>;

const CONFIG_FILE = 'bitloom.config.json';

/** The configuration file with the flags over it. */
async function configured(f: Flags): Promise<CompileConfig> {
  const beside = join(process.cwd(), CONFIG_FILE);
  const file = (f.config as string | undefined) ?? (existsSync(beside) ? beside : null);
  const written: CompileConfig = file === null ? {} : await readConfig(file);
  // One way to fix the bits replaces another.
  const { budget: _, precision: __, assignment: ___, strategy, strategyOptions, weights, activations, ...rest } = written;
  const base: CompileConfig =
    f.budget !== undefined ? { ...rest, strategy, strategyOptions, weights, activations } : f.precision !== undefined || f.assignment !== undefined ? rest : written;
  const flags = given({
    calib: f.calib, batch: f.batch, costs: f.costs, samples: f.samples, precision: f.precision, budget: f.budget, strategy: f.strategy, weights: f.weights, activations: f.activations,
    freeEnds: f.freeEnds, calibration: f.calibration, percentile: f.percentile, symmetric: f.symmetric, biasCorrection: f.biasCorrection === false ? false : undefined, rounding: f.rounding, equalize: f.equalize,
    seed: f.seed, target: f.target, threads: f.threads, assignment: f.assignment, cName: f.cName, output: f.output, emitQdq: f.emitQdq,
  }) as CompileConfig;
  return {
    ...base,
    ...flags,
    define: { ...base.define, ...Object.fromEntries((f.define as [string, number][] | undefined) ?? []) },
    preprocessing: { ...base.preprocessing, ...preprocessingOf(f) },
    strategyOptions: { ...base.strategyOptions, ...Object.fromEntries(((f.strategyOption as [string, string][] | undefined) ?? []).map(([k, v]) => [k, literal(v)])) },
    pin: [...(base.pin ?? []), ...((f.pin as string[] | undefined) ?? [])],
  };
}

/** A number, true or false as such, anything else as a string. */
function literal(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
}
