export { type BundleBenchOptions, type BundleBenchReport, type CallTime, type EngineTime, benchBundle } from './bundle.js';
export { PEERS, type PeerName } from './engines.js';
export { type Profiled, Lab, findPeer } from './lab.js';
export { type BenchReport, type Result, aligned, benchmarksMarkdown, caseTable, grouped } from './report.js';
export { type Contender, type Measurement, measure, median } from './rounds.js';
