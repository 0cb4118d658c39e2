export {
  type BundleReport, type CompileConfig, type CompileReport, type EvalReport, type Hooks, type ModelReport, type SearchConfig, type SearchReport, type VerifyReport,
  compile, defineConfig, evaluate, inspect, readInputs, runBundle, search, verifyBundle,
} from '@bitloom/compiler';
export { BitloomError } from '@bitloom/diagnostics';
