/** The table of kernel families. Earlier ones win ties. */
import type { Family } from './family.js';
import { bitserialFamilies } from './families/bitserial.js';
import { dotFamilies } from './families/dot.js';
import { dot8Families } from './families/dot8.js';
import { dualFamilies } from './families/dual.js';
import { lutFamilies } from './families/lut.js';
import { scalarFamilies } from './families/scalar.js';

export const FAMILIES: readonly Family[] = [
  ...lutFamilies, ...dot8Families, ...dualFamilies, ...bitserialFamilies, ...dotFamilies, ...scalarFamilies,
];
