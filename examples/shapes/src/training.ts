/** Training: one graph with the forward pass, the loss and all gradients, run by the engine; the update is on the host. */
import { type Session, compileGraph } from '@bitloom/engine';
import { type ValueId } from '@bitloom/ir';
import { compose, createBuilder } from '@bitloom/ops';
import { type Tensor, allocate } from '@bitloom/tensor';
import { addGradients } from '@bitloom/transforms';
import { CHANNELS, CLASSES, SIZE, type Samples } from './draw.js';
import { PARAMETERS, network } from './network.js';

export interface StepResult {
  /** Mean cross-entropy in nats. */
  readonly loss: number;
  readonly correct: number;
}

export interface Trainer {
  /** One step of SGD with momentum and weight decay (weights only) on samples `first` … `first + batch − 1` of `order`. */
  step(data: Samples, order: Int32Array, first: number, rate: number): Promise<StepResult>;
  close(): Promise<void>;
}

const MOMENTUM = 0.9;
const WEIGHT_DECAY = 5e-4;

/** Compiles the training step for a batch size; `parameters` are updated in place. */
export async function createTrainer(parameters: Map<string, Tensor>, batch: number): Promise<Trainer> {
  const b = createBuilder('shapes-training');
  const image = b.input('image', { dtype: 'f32', shape: [batch, CHANNELS, SIZE, SIZE] });
  const target = b.input('target', { dtype: 'f32', shape: [batch, CLASSES.length] });
  const ids = new Map(Object.entries(PARAMETERS).map(([name, shape]) => [name, b.input(name, { dtype: 'f32', shape })]));
  const logits = network(b, image, (name) => ids.get(name)!);
  b.origin = 'loss';
  const logProbabilities = b.add('log_softmax', [logits], { axis: 1 });
  const loss = compose.scale(b, compose.reduceSum(b, compose.mul(b, logProbabilities, target), [0, 1], false), -1 / batch);
  const forward = b.build([loss]);
  const gradients = addGradients(b, forward, new Map([[loss, compose.scalarLike(b, loss, 1)]]), [...ids.values()]);
  const outputs = new Map([...ids].map(([name, id]) => [name, gradients.get(id) as ValueId]));
  const session: Session = await compileGraph(b.build([loss, logits, ...outputs.values()]));
  const velocity = new Map([...parameters].map(([name, t]) => [name, new Float32Array(t.data.length)]));

  return {
    async step(data, order, first, rate) {
      const x = allocate('f32', b.shapeOf(image));
      const t = allocate('f32', b.shapeOf(target));
      const size = x.data.length / batch;
      const labels = Array.from({ length: batch }, (_, i) => Number(data.labels.data[order[first + i]]));
      for (let i = 0; i < batch; i++) {
        const at = order[first + i] * size;
        (x.data as Float32Array).set((data.image.data as Float32Array).subarray(at, at + size), i * size);
        t.data[i * CLASSES.length + labels[i]] = 1;
      }
      const out = await session.run(new Map([[image, x], [target, t], ...[...ids].map(([name, id]) => [id, parameters.get(name)!] as const)]));
      for (const [name, p] of parameters) {
        const [w, v, d] = [p.data as Float32Array, velocity.get(name)!, out.get(outputs.get(name)!)!.data as Float32Array];
        const decay = name.endsWith('.w') ? WEIGHT_DECAY : 0;
        for (let i = 0; i < w.length; i++) {
          v[i] = MOMENTUM * v[i] + d[i] + decay * w[i];
          w[i] -= rate * v[i];
        }
      }
      return { loss: Number(out.get(loss)!.data[0]), correct: countCorrect(out.get(logits)!, labels) };
    },
    close: () => session.close(),
  };
}

/** Rows of (N, classes) whose largest entry is at the label. */
export function countCorrect(logits: Tensor, labels: readonly number[]): number {
  const n = CLASSES.length;
  return labels.filter((label, i) => {
    const row = (logits.data as Float32Array).subarray(i * n, (i + 1) * n);
    return row.every((v, c) => c === label || v < row[label]);
  }).length;
}
