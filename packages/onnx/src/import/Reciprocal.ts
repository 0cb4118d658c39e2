import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';

export const Reciprocal: OnnxImporter = (n) => compose.reciprocal(n.b, n.x(0));
