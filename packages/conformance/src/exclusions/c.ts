import type { Exclusion } from '../exclusions.js';

/** What the reference runs and C does not: nothing. */
export const C_EXCLUSIONS: readonly Exclusion[] = [];
