/** RNN, GRU and LSTM, unrolled over the sequence. The input products of all steps are one linear layer. */
import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter, OnnxNode } from '../node.js';

const { add, sub, mul, scale, shift } = compose;
/** More steps than this are refused rather than unrolled. */
const MAX_STEPS = 512;

const ACTIVATIONS: Readonly<Record<string, (n: OnnxNode, x: ValueId) => ValueId>> = {
  sigmoid: (n, x) => n.op('sigmoid', [x]),
  tanh: (n, x) => n.op('tanh', [x]),
  relu: (n, x) => n.op('relu', [x]),
  hardsigmoid: (n, x) => n.op('clip', [shift(n.b, scale(n.b, x, 0.2), 0.5)], { min: 0, max: 1 }),
  softsign: (n, x) => compose.div(n.b, x, shift(n.b, n.op('abs', [x]), 1)),
  leakyrelu: (n, x) => n.op('max', [x, scale(n.b, x, 0.01)]),
};

type Activation = (x: ValueId) => ValueId;

/** What one direction of a cell sees. */
interface Cell {
  readonly hidden: number;
  /** Slice [from·H, to·H) of the gates of something with the gates on its last axis. */
  gates(x: ValueId, from: number, to: number): ValueId;
  /** h·Rᵀ over gates [from, to), plus their recurrent bias where `bias` is set. */
  recur(h: ValueId, from: number, to: number, bias: boolean): ValueId;
  readonly activate: readonly Activation[];
  /** Peephole weights of gate i, if there are any. */
  peephole(i: number, c: ValueId): ValueId | null;
}

interface Kind {
  readonly gates: number;
  readonly activations: readonly string[];
  readonly states: 1 | 2;
  /** Gates whose recurrent bias is added to the input product; the rest is added by `step`. */
  readonly folded: (n: OnnxNode) => number;
  step(n: OnnxNode, cell: Cell, xw: ValueId, state: readonly ValueId[]): ValueId[];
}

/** Hₜ = f(Xₜ·Wᵀ + Hₜ₋₁·Rᵀ + b) */
const RNN: Kind = {
  gates: 1, activations: ['Tanh'], states: 1, folded: () => 1,
  step: (n, { recur, activate: [f] }, xw, [h]) => [f(add(n.b, xw, recur(h, 0, 1, false)))],
};

/** Gates z, r, h: Hₜ = (1 − z)⊙h + z⊙Hₜ₋₁; `linear_before_reset` applies r after the product with R. */
const GRU: Kind = {
  gates: 3, activations: ['Sigmoid', 'Tanh'], states: 1, folded: (n) => (n.attrs.bool('linear_before_reset', false) ? 2 : 3),
  step: (n, { gates, recur, activate: [f, g] }, xw, [h]) => {
    const { b } = n;
    const zr = f(add(b, gates(xw, 0, 2), recur(h, 0, 2, false)));
    const [z, r] = [gates(zr, 0, 1), gates(zr, 1, 2)];
    const inner = n.attrs.bool('linear_before_reset', false) ? mul(b, r, recur(h, 2, 3, true)) : recur(mul(b, r, h), 2, 3, false);
    const candidate = g(add(b, gates(xw, 2, 3), inner));
    return [add(b, candidate, mul(b, z, sub(b, h, candidate)))];
  },
};

/** Gates i, o, f, c: Cₜ = f⊙Cₜ₋₁ + i⊙c, Hₜ = o⊙h(Cₜ). */
const LSTM: Kind = {
  gates: 4, activations: ['Sigmoid', 'Tanh', 'Tanh'], states: 2, folded: () => 4,
  step: (n, { gates, recur, activate: [f, g, h], peephole }, xw, [before, c]) => {
    const { b } = n;
    const sum = add(b, xw, recur(before, 0, 4, false));
    const gate = (i: number, p: ValueId | null): ValueId => f(p === null ? gates(sum, i, i + 1) : add(b, gates(sum, i, i + 1), p));
    const input = gate(0, peephole(0, c));
    const forget = n.attrs.bool('input_forget', false) ? sub(b, n.like(input, 1), input) : gate(2, peephole(2, c));
    const next = add(b, mul(b, forget, c), mul(b, input, g(gates(sum, 3, 4))));
    return [mul(b, gate(1, peephole(1, next)), h(next)), next];
  },
};

function recurrent(kind: Kind): OnnxImporter {
  return (n) => {
    const { b } = n;
    if (n.attrs.has('clip')) n.unsupported('clip');
    if (n.attrs.has('activation_alpha') || n.attrs.has('activation_beta')) n.unsupported('activation parameters');
    const batchFirst = n.attrs.bool('layout', false);
    const x = batchFirst ? n.transpose(n.x(0), [1, 0, 2]) : n.x(0);
    const [steps, batch] = b.shapeOf(x);
    if (steps > MAX_STEPS) n.unsupported(`${steps} steps, more than ${MAX_STEPS}`);
    const direction = n.attrs.string('direction', 'forward');
    const directions = direction === 'bidirectional' ? 2 : 1;
    const [count, rows, hidden] = n.shape(2);
    if (count !== directions || rows !== kind.gates * hidden || n.shape(1)[1] !== rows) {
      n.mismatch(`R [${n.shape(2).join(', ')}]`, `[${directions}, ${kind.gates}·hidden, hidden]`);
    }
    const names = n.attrs.strings('activations', null) ?? Array.from({ length: directions }, () => kind.activations).flat();
    const lengths = n.ints(4, 'sequence_lens');
    const ragged = lengths?.some((l) => l !== steps) ? lengths : null;

    /** Index `d` of the leading axis, dropped. */
    const of = (id: ValueId, d: number): ValueId => n.reshape(compose.sliceAxis(b, id, 0, d, 1), b.shapeOf(id).slice(1));
    /** Where step t is inside each sequence; null where it is in all. */
    const inside = (t: number): ValueId | null => (ragged ? n.const('bool', [batch, 1], ragged.map((l) => t < l)) : null);
    const initial = (i: number, d: number): ValueId => {
      const given = n.optional(i);
      if (given === null) return compose.broadcastTo(b, n.like(x, 0), [batch, hidden]);
      return batchFirst ? n.reshape(compose.sliceAxis(b, given, 1, d, 1), [batch, hidden]) : of(given, d);
    };

    const run = (d: number): { outputs: ValueId[]; state: ValueId[] } => {
      const w = of(n.x(1), d);
      const r = of(n.x(2), d);
      const peepholes = n.optional(7) === null ? null : of(n.x(7), d);
      const biases = n.optional(3) === null ? null : of(n.x(3), d);
      // Every step uses the same slices of the weights.
      const slices = new Map<string, ValueId>();
      const rowsOf = (id: ValueId, from: number, to: number): ValueId => {
        const key = `${id} ${from} ${to}`;
        const made = slices.get(key) ?? compose.sliceAxis(b, id, 0, from * hidden, (to - from) * hidden);
        slices.set(key, made);
        return made;
      };
      const folded = kind.folded(n);
      const rest = kind.gates - folded;
      const recurrentBias = biases === null ? null : rowsOf(biases, kind.gates, 2 * kind.gates);
      let bias: ValueId[] = [];
      if (biases !== null && recurrentBias !== null) {
        const inFold = rowsOf(recurrentBias, 0, folded);
        const whole = rest === 0 ? inFold : compose.padWith(b, inFold, [0], [rest * hidden]);
        bias = [add(b, rowsOf(biases, 0, kind.gates), whole)];
      }
      const products = n.op('linear', [x, w, ...bias]);
      const cell: Cell = {
        hidden,
        gates: (id, from, to) => compose.sliceAxis(b, id, b.shapeOf(id).length - 1, from * hidden, (to - from) * hidden),
        recur: (h, from, to, withBias) => n.op('linear', [
          h, rowsOf(r, from, to), ...(withBias && recurrentBias !== null ? [rowsOf(recurrentBias, from, to)] : []),
        ]),
        activate: kind.activations.map((_, i) => {
          const name = names[d * kind.activations.length + i] ?? '';
          const f = ACTIVATIONS[name.toLowerCase()] ?? n.unsupported(`activation ${name}`);
          return (id) => f(n, id);
        }),
        peephole: (i, c) => (peepholes === null ? null : mul(b, rowsOf(peepholes, i, i + 1), c)),
      };
      const reverse = direction === 'reverse' || d === 1;
      const outputs = new Array<ValueId>(steps);
      let state = Array.from({ length: kind.states }, (_, i) => initial(5 + i, d));
      for (let s = 0; s < steps; s++) {
        const t = reverse ? steps - 1 - s : s;
        const next = kind.step(n, cell, of(products, t), state);
        const mask = inside(t);
        outputs[t] = mask === null ? next[0] : compose.masked(b, mask, next[0]);
        state = mask === null ? next : next.map((v, i) => n.op('select', [mask, v, state[i]]));
      }
      return { outputs, state };
    };

    const runs = Array.from({ length: directions }, (_, d) => run(d));
    const stack = (ids: readonly ValueId[], shape: readonly number[]): ValueId => {
      const parts = ids.map((id) => n.reshape(id, [1, ...shape]));
      return parts.length === 1 ? parts[0] : n.op('concat', parts, { axis: 0 });
    };
    const results: ValueId[] = [];
    if (n.wants(0)) {
      // [directions, steps, batch, hidden] → the layout's order
      const all = stack(runs.map((r) => stack(r.outputs, [batch, hidden])), [steps, batch, hidden]);
      results[0] = n.transpose(all, batchFirst ? [2, 1, 0, 3] : [1, 0, 2, 3]);
    }
    for (let i = 0; i < kind.states; i++) {
      if (!n.wants(i + 1)) continue;
      const last = stack(runs.map((r) => r.state[i]), [batch, hidden]);
      results[i + 1] = batchFirst ? n.transpose(last, [1, 0, 2]) : last;
    }
    return results;
  };
}

export const recurrents: Readonly<Record<string, OnnxImporter>> = { RNN: recurrent(RNN), GRU: recurrent(GRU), LSTM: recurrent(LSTM) };
