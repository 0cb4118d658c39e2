import { compose } from '@bitloom/ops';
import { getAt } from '@bitloom/tensor';
const MAX_STEPS = 512;
/** Values of each step, stacked along a new axis. */
function stacked(n, parts, axis) {
    if (parts.length === 0)
        n.unsupported('no steps, so the shape of a collected output is unknown');
    const shape = n.b.shapeOf(parts[0]);
    const at = n.axis(axis, shape.length + 1);
    const wide = parts.map((p) => n.reshape(p, [...shape.slice(0, at), 1, ...shape.slice(at)]));
    return wide.length === 1 ? wide[0] : n.op('concat', wide, { axis: at });
}
/** Inputs: trip count, condition, carried values. The body also gives a condition, and outputs to collect. */
export const Loop = (n) => {
    const body = n.attrs.graph('body') ?? n.unsupported('body is missing');
    const trips = n.number(0, 'the trip count', Infinity);
    let running = n.number(1, 'the condition', 1) !== 0;
    let state = Array.from({ length: n.inputCount - 2 }, (_, i) => n.x(i + 2));
    const collected = Array.from({ length: n.outputs.length - state.length }, () => []);
    for (let i = 0; running && i < trips; i++) {
        if (i >= MAX_STEPS)
            n.unsupported(`more than ${MAX_STEPS} steps`);
        const [condition, ...results] = n.around.inline(body, `step${i}`, [n.const('i64', [], [i]), n.const('bool', [], [true]), ...state]);
        const known = n.b.constantOf(condition) ?? n.unsupported('the condition is computed from run-time values');
        running = getAt(known, 0) !== 0;
        const carried = state.length;
        state = results.slice(0, carried);
        results.slice(carried).forEach((id, k) => collected[k]?.push(id));
    }
    return [...state, ...collected.map((parts) => stacked(n, parts, 0))];
};
/** Inputs: state, then sequences of which each step sees one element; outputs: state, then collected sequences. */
export const Scan = (n) => {
    if (n.opset < 9)
        n.unsupported('the batched form of opset 8');
    const body = n.attrs.graph('body') ?? n.unsupported('body is missing');
    const sequences = n.attrs.int('num_scan_inputs', 1);
    const carried = n.inputCount - sequences;
    const inputAxes = Array.from({ length: sequences }, (_, i) => n.axis((n.attrs.ints('scan_input_axes', null) ?? [])[i] ?? 0, n.rank(carried + i)));
    const backward = n.attrs.ints('scan_input_directions', null) ?? [];
    const steps = n.shape(carried)[inputAxes[0]];
    if (steps > MAX_STEPS)
        n.unsupported(`${steps} steps, more than ${MAX_STEPS}`);
    let state = Array.from({ length: carried }, (_, i) => n.x(i));
    const collected = Array.from({ length: n.outputs.length - carried }, () => []);
    for (let s = 0; s < steps; s++) {
        const elements = inputAxes.map((axis, i) => {
            const at = backward[i] === 1 ? steps - 1 - s : s;
            const shape = n.shape(carried + i);
            return n.reshape(compose.sliceAxis(n.b, n.x(carried + i), axis, at, 1), shape.filter((_, a) => a !== axis));
        });
        const results = n.around.inline(body, `step${s}`, [...state, ...elements]);
        state = results.slice(0, carried);
        results.slice(carried).forEach((id, k) => collected[k]?.push(id));
    }
    const outputAxes = n.attrs.ints('scan_output_axes', null) ?? [];
    const reversed = n.attrs.ints('scan_output_directions', null) ?? [];
    return [...state, ...collected.map((parts, k) => stacked(n, reversed[k] === 1 ? parts.toReversed() : parts, outputAxes[k] ?? 0))];
};
//# sourceMappingURL=unrolled.js.map