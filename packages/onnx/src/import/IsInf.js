export const IsInf = (n) => n.op('isinf', [n.x(0)], { negative: n.attrs.bool('detect_negative', true), positive: n.attrs.bool('detect_positive', true) });
//# sourceMappingURL=IsInf.js.map