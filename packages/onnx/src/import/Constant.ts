import { tensorOf } from '@bitloom/tensor';
import { isNarrow, onnxType } from '../data-types.js';
import type { OnnxImporter } from '../node.js';

/** The value, in whichever attribute it stands. */
export const Constant: OnnxImporter = (n) => {
  const name = n.outputs[0] ?? n.name;
  const value = n.attrs.tensor('value');
  if (value) {
    const id = n.b.const(n.around.readTensor(value, name), name);
    const type = onnxType(value.dataType, name);
    if (isNarrow(type)) n.b.narrow.set(id, type.bits);
    return id;
  }
  const f = n.attrs.float('value_float', null);
  if (f !== null) return n.b.const(tensorOf('f32', [], [f]), name);
  const i = n.attrs.int('value_int', null);
  if (i !== null) return n.b.const(tensorOf('i64', [], [i]), name);
  const fs = n.attrs.floats('value_floats', null);
  if (fs) return n.b.const(tensorOf('f32', [fs.length], fs), name);
  const is = n.attrs.ints('value_ints', null);
  if (is) return n.b.const(tensorOf('i64', [is.length], is), name);
  return n.unsupported('a string or sparse value');
};
