const SAME = {
    Abs: 'abs', Neg: 'neg', Exp: 'exp', Log: 'log', Sqrt: 'sqrt', Floor: 'floor', Ceil: 'ceil', Round: 'round', Sign: 'sign',
    Sin: 'sin', Cos: 'cos', Tan: 'tan', Asin: 'asin', Acos: 'acos', Atan: 'atan', Sinh: 'sinh', Cosh: 'cosh', Tanh: 'tanh',
    Asinh: 'asinh', Acosh: 'acosh', Atanh: 'atanh', Erf: 'erf', Sigmoid: 'sigmoid', Relu: 'relu', Not: 'not', BitwiseNot: 'bitnot', IsNaN: 'isnan',
};
export const unary = Object.fromEntries(Object.entries(SAME).map(([name, op]) => [name, (n) => n.op(op, [n.x(0)])]));
//# sourceMappingURL=unary.js.map