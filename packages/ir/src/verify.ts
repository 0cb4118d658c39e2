/** Checks a graph after every pass: structure, types, and the precisions that its phase allows. */
import { BitloomError, fail } from '@bitloom/diagnostics';
import { type QuantScheme, codeRange, isBits } from '@bitloom/numerics';
import { elementCount, sameShape } from '@bitloom/tensor';
import type { OpTable } from './builder.js';
import { type Graph, type Phase, type Precision, type Value, type ValueId, isConst } from './graph.js';
import { isPrintableId } from './ids.js';
import { printScheme, printType } from './print.js';

/** Precision states a value may have in each phase. */
export const PHASE_STATES: Readonly<Record<Phase, readonly Precision['state'][]>> = {
  float: ['float'],
  candidates: ['float', 'candidates'],
  chosen: ['float', 'chosen'],
  calibrated: ['float', 'calibrated'],
};

interface SchemeRule {
  readonly expected: string;
  readonly holds: (s: QuantScheme) => boolean;
}

/** Schemes a quantised value may have: weights are constants, everything else is an activation. */
export const SCHEME_RULES: Readonly<Record<'weight' | 'activation', SchemeRule>> = {
  weight: { expected: 'signed, one scale per index of axis 0', holds: (s) => s.signed && s.axis === 0 },
  activation: { expected: 'unsigned, one scale per tensor', holds: (s) => !s.signed && s.axis === null },
};

export interface VerifyOptions {
  /** Pass that made the graph; named by the errors. */
  readonly pass?: string;
}

/**
 * @throws E402 naming the pass and the node (or value) at fault: ids that are undefined, defined twice or used before their
 * definition; types other than what the operation infers; precisions that the phase's table does not allow
 */
export function verifyGraph(g: Graph, ops: OpTable, { pass }: VerifyOptions = {}): void {
  const after = pass === undefined ? '' : ` after ${pass}`;
  const broken = (message: string, node: string, details: { found?: string; expected?: string } = {}, cause?: unknown): never =>
    fail('E402', `graph ${g.name} is broken${after}: ${message}`, { node, ...details }, cause);

  const defined = new Set<ValueId>();
  const define = (id: ValueId, by: string): Value => {
    const v = g.values.get(id) ?? broken(`%${id} is not in the table of values`, by);
    if (v.id !== id || !isPrintableId(id)) broken(`malformed value id`, by, { found: v.id, expected: id });
    if (defined.has(id)) broken(`%${id} is defined twice`, by);
    defined.add(id);
    return v;
  };

  for (const id of g.inputs) {
    const v = define(id, id);
    try {
      elementCount(v.type.shape);
    } catch (error) {
      broken('an input has an impossible shape', v.name, { found: printType(v.type) }, error);
    }
    verifyPrecision(v, false);
  }
  for (const n of g.nodes) {
    const name = n.origin || n.outputs[0] || n.op;
    for (const i of n.inputs) if (!defined.has(i)) broken(`${n.op} uses %${i} before its definition`, name);
    const types = (() => {
      try {
        return ops.infer(n.op, n.inputs.map((i) => g.values.get(i)!.type), n.attrs, n.origin);
      } catch (error) {
        if (!(error instanceof BitloomError)) throw error;
        return broken(error.message, error.diagnostic.node || name, { found: error.diagnostic.found, expected: error.diagnostic.expected }, error);
      }
    })();
    if (types.length !== n.outputs.length) broken(`${n.op} has ${types.length} results`, name, { found: `${n.outputs.length}` });
    n.outputs.forEach((o, i) => {
      const v = define(o, name);
      if (v.type.dtype !== types[i].dtype || !sameShape(v.type.shape, types[i].shape)) {
        broken(`type of %${o} is not what ${n.op} gives`, name, { found: printType(v.type), expected: printType(types[i]) });
      }
      verifyPrecision(v, isConst(n));
    });
  }
  for (const o of g.outputs) if (!defined.has(o)) broken(`output %${o} is not defined`, o);
  for (const id of g.values.keys()) if (!defined.has(id)) broken(`nothing defines %${id}`, id);

  function verifyPrecision(v: Value, constant: boolean): void {
    const p = v.precision;
    if (!PHASE_STATES[g.phase].includes(p.state)) {
      broken(`%${v.id} has a precision that the phase ${g.phase} does not allow`, v.name, { found: p.state, expected: PHASE_STATES[g.phase].join(' or ') });
    }
    if (p.state === 'float') return;
    if (v.type.dtype !== 'f32') broken(`%${v.id} is quantised but no f32`, v.name, { found: printType(v.type) });
    const schemes = p.state === 'candidates' ? p.schemes : [p.state === 'chosen' ? p.scheme : p.params.scheme];
    const { expected, holds } = SCHEME_RULES[constant ? 'weight' : 'activation'];
    for (const s of schemes) {
      if (!isBits(s.bits) || !holds(s) || (s.axis !== null && s.axis >= v.type.shape.length)) {
        broken(`%${v.id} cannot have this scheme`, v.name, { found: printScheme(s), expected });
      }
    }
    if (new Set(schemes.map(printScheme)).size !== schemes.length || schemes.length === 0) {
      broken(`candidates of %${v.id} are empty or repeat`, v.name, { found: schemes.map(printScheme).join(', ') });
    }
    if (p.state !== 'calibrated') return;
    const { scheme, scale, zeroPoint } = p.params;
    const count = scheme.axis === null ? 1 : v.type.shape[scheme.axis];
    if (scale.length !== count || zeroPoint.length !== count) {
      broken(`%${v.id} has the wrong number of scales`, v.name, { found: `${scale.length} scales, ${zeroPoint.length} zero points`, expected: `${count}` });
    }
    const badScale = scale.find((s) => !(s > 0 && s < Infinity));
    if (badScale !== undefined) broken(`%${v.id} has a scale that is no positive number`, v.name, { found: String(badScale) });
    const { lo, hi } = scheme.signed ? { lo: 0, hi: 0 } : codeRange(scheme);
    const badZero = zeroPoint.find((z) => z < lo || z > hi);
    if (badZero !== undefined) broken(`%${v.id} has a zero point outside its codes`, v.name, { found: String(badZero), expected: `${lo} to ${hi}` });
  }
}
