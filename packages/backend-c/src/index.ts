export { C_VARIANTS, type CPlanOptions, type CVariant, arenaBytes, cVariantsFor, planC } from './variants.js';
export { type CIsa, ISAS } from './isa.js';
export { type EmitOptions, type Vector, cName, emitC, emitVectors } from './emit.js';
export { type CBinary, type CRun, NATIVE_FLAGS, NO_C_COMPILER, compileC, findCompiler, runC } from './compile.js';
export { printNest, scalarFunctionCode } from './print-nest.js';
