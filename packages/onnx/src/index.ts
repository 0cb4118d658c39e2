export { type ImportOptions, type Imported, OPSET_MAX, OPSET_MIN, importOnnx, readOnnx } from './importer.js';
export { IMPORTERS } from './import/index.js';
export type { OnnxImporter, OnnxNode } from './node.js';
export { type ImportedCase, type NodeCase, importNodeCase, loadNodeCases } from './node-tests.js';
export { exportOnnx } from './export/export.js';
export { EXPORTS, EXPORT_OPSET, ONNX_TYPE } from './export/table.js';
