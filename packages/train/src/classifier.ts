/** Classifiers that learn from labels and from the float network. */
import { type Graph, type GraphBuilder, type ValueId, isConst, valueOf } from '@bitloom/ir';
import { toNumbers } from '@bitloom/tensor';
import type { Tensor } from '@bitloom/tensor';
import { type TrainingBatch, oneHot } from './epochs.js';
import { blend, crossEntropy, distillation } from './loss.js';
import type { StepResult } from './step.js';
import type { Trainable } from './trainable.js';

export interface Teaching {
  /** Weight that each label gives to all classes alike. */
  readonly smoothing: number;
  /** Share of the loss, 0 to 1, that is the distance from the float network's answers; its temperature. */
  readonly distillation: number;
  readonly temperature: number;
}

export interface Classifier {
  readonly loss: ValueId;
  /** [batch, classes]; to be watched. */
  readonly logits: ValueId;
  /** Labels as rows of zeros with a one, an input. */
  readonly targets: ValueId;
  feeds(batch: TrainingBatch): ReadonlyMap<ValueId, Tensor>;
  /** Right answers in a batch. */
  correct(result: StepResult, batch: TrainingBatch): number;
}

/** Adds a graph as it is, constants and all. Returns what became of each value. */
function copied(b: GraphBuilder, g: Graph, inputs: ReadonlyMap<ValueId, ValueId>): ReadonlyMap<ValueId, ValueId> {
  const values = new Map(inputs);
  for (const n of g.nodes) {
    if (isConst(n)) values.set(n.outputs[0], b.const(n.attrs.data));
    else b.addMany(n.op, n.inputs.map((i) => values.get(i)!), n.attrs).forEach((v, i) => values.set(n.outputs[i], v));
  }
  return values;
}

/** Index of the largest number of each row of a [rows, classes] tensor. */
export function largest(t: Tensor): number[] {
  const classes = t.shape[1];
  const numbers = toNumbers(t);
  return Array.from({ length: t.shape[0] }, (_, i) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (numbers[i * classes + c] > numbers[i * classes + best]) best = c;
    return best;
  });
}

/**
 * The loss of a copy `t` of a float classifier `g`: (1 − distillation)·cross-entropy + distillation·KL from the answers of `g` itself.
 * @param logits of `g`, [batch, classes]
 */
export function classifier(g: Graph, logits: ValueId, t: Trainable, o: Teaching): Classifier {
  const { b } = t;
  const student = t.values.get(logits)!;
  const shape = b.shapeOf(student);
  const targets = b.input('targets', { dtype: 'f32', shape });
  const teacher = o.distillation > 0 ? copied(b, g, t.inputs).get(logits)! : null;
  const hard = crossEntropy(b, student, targets, o.smoothing);
  const loss = teacher === null ? hard : blend(b, hard, distillation(b, student, teacher, o.temperature), o.distillation);
  return {
    loss, logits: student, targets,
    feeds: ({ inputs, labels }) => new Map([
      ...[...t.inputs].map(([old, id]) => [id, inputs.get(valueOf(g, old).name)!] as const), [targets, oneHot(labels, shape[1])],
    ]),
    correct: ({ watched }, { labels }) => largest(watched.get(student)!).filter((c, i) => c === labels[i]).length,
  };
}
