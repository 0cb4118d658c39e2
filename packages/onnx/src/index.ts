export { type Imported, importOnnx, readModelFile, readOnnx } from './importer.js';
export type { ImportOptions } from './input-shapes.js';
export { OPSET_MAX, OPSET_MIN } from './model-import.js';
export { IMPORTERS } from './import/index.js';
export type { OnnxImporter, OnnxNode } from './node.js';
export { type ImportedCase, type NodeCase, importNodeCase, loadNodeCases } from './node-tests.js';
export { exportModel, exportOnnx, exportQdq } from './export/export.js';
export { EXPORTS, EXPORT_OPSET, ONNX_TYPE } from './export/table.js';
