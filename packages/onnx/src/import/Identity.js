export const Identity = (n) => n.x(0);
//# sourceMappingURL=Identity.js.map