export const BitShift = (n) => n.op('shift', [n.x(0), n.x(1)], { right: n.attrs.string('direction', '') === 'RIGHT' });
//# sourceMappingURL=BitShift.js.map