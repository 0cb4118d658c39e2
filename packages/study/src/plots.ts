/** Accuracy against cost, as SVG: Vega-Lite without canvas, network or DOM. */
import type { StudyReport } from './study.js';

export interface Plot {
  /** Of its file. */
  readonly name: string;
  readonly caption: string;
  readonly svg: string;
}

interface Axis {
  readonly name: string;
  readonly caption: string;
  readonly title: string;
  readonly of: (r: StudyReport['float'] | StudyReport['cells'][number]) => number | null | undefined;
  readonly mean: (s: StudyReport['summary'][number]) => number | undefined;
}

/** Colours that stay apart for the colour-blind (Okabe and Ito); shapes repeat them. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];
const SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'cross', 'triangle-down', 'triangle-right'];
const SIZE = { width: 520, height: 320 };
/** Ratio of costs above which their axis is logarithmic. */
const WIDE = 4;
/** Factor by which such an axis goes beyond the values. */
const MARGIN = 1.15;

/** The first entry of `latency` that the float model has: of the first target. */
export const countedLatency = (r: StudyReport): string => Object.keys(r.float.latency)[0] ?? '';

const axesOf = (r: StudyReport): Axis[] => {
  const target = countedLatency(r);
  return [
    { name: 'accuracy-size', caption: 'Accuracy against size', title: 'Weights in bytes', of: (c) => c.weightBytes, mean: (s) => s.weightBytes?.mean },
    { name: 'accuracy-bops', caption: 'Accuracy against bit operations', title: 'BOPs', of: (c) => c.bops, mean: (s) => s.bops?.mean },
    { name: 'accuracy-latency', caption: 'Accuracy against predicted latency', title: `Predicted latency in ns (${target})`, of: (c) => c.latency?.[target], mean: (s) => s.latency[target]?.mean },
  ];
};

/** What Vega-Lite is given for one plot: single cells pale, means over seeds with their spread, the float model as a line across. */
function specification(r: StudyReport, axis: Axis): object {
  const strategies = [...new Set(r.summary.map((s) => s.strategy))];
  const cells = r.cells.flatMap((c) => (c.accuracy === null ? [] : [{ strategy: c.strategy, x: axis.of(c), y: c.accuracy }]));
  const means = r.summary.flatMap((s) => (s.accuracy === null ? [] : [{
    strategy: s.strategy, x: axis.mean(s), y: s.accuracy.mean, low: s.accuracy.mean - (s.accuracy.spread ?? 0), high: s.accuracy.mean + (s.accuracy.spread ?? 0),
  }]));
  const xs = cells.flatMap((c) => c.x ?? []);
  const [least, most] = [Math.min(...xs), Math.max(...xs)];
  const logarithmic = xs.length > 0 && least > 0 && most / least > WIDE;
  const x = { field: 'x', type: 'quantitative', title: axis.title, scale: logarithmic ? { type: 'log', nice: false, domain: [least / MARGIN, most * MARGIN] } : { zero: false }, axis: { format: '~s' } };
  const y = { field: 'y', type: 'quantitative', title: 'Accuracy in %', scale: { zero: false } };
  const series = { field: 'strategy', type: 'nominal', title: null, legend: { symbolOpacity: 1 } };
  const color = { ...series, scale: { domain: strategies, range: strategies.map((_, i) => COLOURS[i % COLOURS.length]) } };
  const shape = { ...series, scale: { domain: strategies, range: strategies.map((_, i) => SHAPES[i % SHAPES.length]) } };
  return {
    ...SIZE, background: 'white', config: { font: 'sans-serif', view: { stroke: '#ccc' }, aria: false },
    layer: [
      { data: { values: [{ y: r.float.accuracy }] }, mark: { type: 'rule', strokeDash: [4, 3], color: '#555' }, encoding: { y } },
      { data: { values: [{ y: r.float.accuracy }] }, mark: { type: 'text', align: 'left', dx: 4, dy: -6, color: '#555', fontSize: 10 }, encoding: { y, x: { value: 0 }, text: { value: 'float' } } },
      ...(means.length === 0 ? [] : [
        { data: { values: cells }, mark: { type: 'point', filled: true, opacity: 0.3, size: 22 }, encoding: { x, y, color, shape } },
        { data: { values: means }, mark: { type: 'line', strokeWidth: 1.2 }, encoding: { x, y, color } },
        { data: { values: means }, mark: { type: 'rule', strokeWidth: 1.5 }, encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color } },
        { data: { values: means }, mark: { type: 'point', filled: true, opacity: 1, size: 60 }, encoding: { x, y, color, shape } },
      ]),
    ],
  };
}

export async function plotsOf(r: StudyReport): Promise<Plot[]> {
  // Loaded here, so that other verbs start without them.
  const [vega, { compile }] = [await import('vega'), await import('vega-lite')];
  // Widths of text are estimated even where there is a canvas to measure them on, so that plots are the same everywhere. The typings lack it.
  (vega as unknown as { readonly textMetrics: { canvas(use: boolean): void } }).textMetrics.canvas(false);
  const plots: Plot[] = [];
  for (const axis of axesOf(r)) {
    const { spec } = compile(specification(r, axis) as Parameters<typeof compile>[0]);
    const view = new vega.View(vega.parse(spec), { renderer: 'none' });
    plots.push({ name: axis.name, caption: axis.caption, svg: `${await view.toSVG()}\n` });
    view.finalize();
  }
  return plots;
}
