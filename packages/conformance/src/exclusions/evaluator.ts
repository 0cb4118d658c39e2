import type { Exclusion } from '../exclusions.js';

/** What the importer takes and the evaluator gets wrong: nothing. */
export const EVALUATOR_EXCLUSIONS: readonly Exclusion[] = [];
