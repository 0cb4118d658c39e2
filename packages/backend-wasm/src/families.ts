/** The table of kernel families. Earlier ones win ties. */
import type { Family } from './family.js';
import { dotFamilies } from './families/dot.js';
import { scalarFamilies } from './families/scalar.js';

export const FAMILIES: readonly Family[] = [...dotFamilies, ...scalarFamilies];
