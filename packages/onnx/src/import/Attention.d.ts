import type { ValueId } from '@bitloom/ir';
import type { OnnxImporter, OnnxNode } from '../node.js';
/** [batch, sequence, heads·size] → [batch, heads, sequence, size] */
export declare function splitHeads(n: OnnxNode, x: ValueId, heads: number): ValueId;
/**
 * softmax(softcap(Q·Kᵀ·scale) + bias)·V. The bias joins the mask, causality (query i sees keys up to i + offset, where the offset
 * is the length of the past, or valid keys − queries) and the padding of `nonpad_kv_seqlen`; rows without any key give 0.
 */
export declare const Attention: OnnxImporter;
/** The first `rotary_embedding_dim` elements of each head, as pairs, turned by the angles of the caches. */
export declare const RotaryEmbedding: OnnxImporter;
