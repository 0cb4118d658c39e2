export const Mod = (n) => n.op('mod', [n.x(0), n.x(1)], { fmod: n.attrs.bool('fmod', false) });
//# sourceMappingURL=Mod.js.map