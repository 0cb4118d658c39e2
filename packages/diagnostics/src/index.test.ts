import { describe, expect, it } from 'vitest';
import { BitloomError, CODES, type Code, fail, formatDiagnostic, toDiagnostic } from './index.js';

const thrown = (f: () => unknown): BitloomError => {
  try {
    f();
  } catch (e) {
    return e as BitloomError;
  }
  throw new Error('nothing was thrown');
};

describe('diagnostics', () => {
  it('exit codes: 2 usage, 3 infeasible budget, 4 mismatch, else 1', () => {
    const exit = (code: Code): number => new BitloomError({ code, message: '' }).exitCode;
    for (const code of Object.keys(CODES) as Code[]) {
      expect(exit(code), code).toBe(code === 'E501' ? 3 : code === 'E702' ? 4 : code[1] === '1' ? 2 : 1);
    }
  });

  it('carry all fields and the cause', () => {
    const cause = new Error('disk');
    const e = thrown(() => fail('E703', 'output cannot be written', { node: 'out', found: 'EACCES', remedy: 'check it' }, cause));
    expect(e).toBeInstanceOf(BitloomError);
    expect([e.code, e.message, e.cause, e.diagnostic.node]).toEqual(['E703', 'output cannot be written', cause, 'out']);
    expect('cause' in thrown(() => fail('E201', 'x'))).toBe(false);
  });

  it('print only the fields there are', () => {
    expect(formatDiagnostic({ code: 'E204', message: 'shapes differ', found: '[2]', expected: '[3]' }))
      .toBe('E204: shapes differ\n  found     [2]\n  expected  [3]');
    expect(formatDiagnostic({ code: 'E501', message: 'm', node: 'n', remedy: 'r' })).toBe('E501: m\n  node      n\n  remedy    r');
  });

  it('turn foreign errors into E901', () => {
    const own = thrown(() => fail('E302', 'x'));
    expect(toDiagnostic(own)).toBe(own.diagnostic);
    expect(toDiagnostic(new RangeError('y'))).toMatchObject({ code: 'E901', message: 'y' });
    expect(toDiagnostic('z')).toMatchObject({ code: 'E901', message: 'z' });
  });
});
