export * from './export/export.js';
export { EXPORTS, EXPORT_OPSET, ONNX_TYPE } from './export/table.js';
