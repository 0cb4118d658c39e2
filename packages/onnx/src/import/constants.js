/** Operators whose result is known at import: constants, shapes and what is generated from them. */
import { compose } from '@bitloom/ops';
import { allocate, elementCount, setAt, tensorOf } from '@bitloom/tensor';
import { generatedCount, isNarrow, onnxType } from '../data-types.js';
export const constants = {
    Constant: (n) => {
        const name = n.outputs[0] ?? n.name;
        const value = n.attrs.tensor('value');
        if (value) {
            const id = n.b.const(n.around.readTensor(value, name), name);
            const type = onnxType(value.dataType, name);
            if (isNarrow(type))
                n.b.narrow.set(id, type.bits);
            return id;
        }
        const f = n.attrs.float('value_float', null);
        if (f !== null)
            return n.b.const(tensorOf('f32', [], [f]), name);
        const i = n.attrs.int('value_int', null);
        if (i !== null)
            return n.b.const(tensorOf('i64', [], [i]), name);
        const fs = n.attrs.floats('value_floats', null);
        if (fs)
            return n.b.const(tensorOf('f32', [fs.length], fs), name);
        const is = n.attrs.ints('value_ints', null);
        if (is)
            return n.b.const(tensorOf('i64', [is.length], is), name);
        return n.unsupported('a string or sparse value');
    },
    Shape: (n) => {
        const shape = n.shape(0);
        const bound = (v) => Math.max(0, Math.min(v < 0 ? v + shape.length : v, shape.length));
        return compose.indexConst(n.b, shape.slice(bound(n.attrs.int('start', 0)), bound(n.attrs.int('end', shape.length))));
    },
    Size: (n) => n.const('i64', [], [elementCount(n.shape(0), n.name)]),
    ConstantOfShape: (n) => {
        const shape = n.list(0, 'shape');
        const value = n.attrs.tensor('value');
        const fill = value ? n.around.readTensor(value, n.name) : tensorOf('f32', [1], [0]);
        generatedCount(shape, n.name);
        const out = allocate(fill.dtype, shape);
        out.data.fill(fill.data[0]);
        return n.b.const(out);
    },
    Range: (n) => {
        const [start, limit, delta] = [0, 1, 2].map((i) => n.number(i, ['start', 'limit', 'delta'][i]));
        const count = Math.max(0, Math.ceil((limit - start) / delta));
        if (!(delta !== 0))
            n.mismatch(`delta ${delta}`, 'a step other than 0');
        return n.generate(n.dtype(0), [count], (i) => start + i * delta);
    },
    EyeLike: (n) => {
        const [rows, cols] = n.rank(0) === 2 ? n.shape(0) : n.mismatch(`rank ${n.rank(0)}`, 'a matrix');
        const k = n.attrs.int('k', 0);
        const dtype = n.attrs.has('dtype') ? onnxType(n.attrs.int('dtype', 1), n.name).dtype : n.dtype(0);
        generatedCount([rows, cols], n.name);
        const out = allocate(dtype, [rows, cols]);
        for (let i = 0; i < rows; i++)
            if (i + k >= 0 && i + k < cols)
                setAt(out, i * cols + i + k, 1);
        return n.b.const(out);
    },
    NonZero: (n) => {
        const values = n.list(0, 'the operand');
        const strides = n.shape(0).map((_, i) => n.shape(0).slice(i + 1).reduce((p, d) => p * d, 1));
        const at = values.flatMap((v, i) => (v !== 0 ? [i] : []));
        return n.const('i64', [strides.length, at.length], strides.flatMap((s, axis) => at.map((i) => Math.floor(i / s) % n.shape(0)[axis])));
    },
};
//# sourceMappingURL=constants.js.map