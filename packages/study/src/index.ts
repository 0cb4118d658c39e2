export { type StudyConfig, studyConfigSchema } from './options.js';
export { failuresOf, summaryTable } from './reports.js';
export { type StudyHooks, study } from './run.js';
export { abandonStudy } from './stages.js';
export type { Estimate } from './statistics.js';
export { type CellReport, type StudyReport, type Summary, failureOf } from './study.js';
