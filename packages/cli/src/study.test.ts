import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { CONTRACTS, breaches } from './contracts.js';
import { INTERRUPTED, main } from './main.js';
import { bitloom, json, tinyFolder } from './tiny.test.util.js';

const folder = tinyFolder();
afterAll(folder.dispose);
const OUT = folder.path('study');
const QUICK = ['study', folder.path('model.onnx'), '--data', folder.path('data.npz'), '--eval', folder.path('data.npz'), '--samples', '8', '--rounding', 'nearest'];
const SMALL = [...QUICK, '--precisions', 'w4a8', '--strategies', 'mckp', '--budgets', 'bits=4,bits=1', '--free-ends', '--strategy-option', 'mckp.solver=greedy'];

describe('study', () => {
  test('prints study.json with --json, tells of each cell, and keeps what was done', async () => {
    const { code, value, err } = await json(...SMALL, '-o', OUT);
    expect(code).toBe(0);
    expect(breaches(CONTRACTS.study, value)).toEqual([]);
    expect(value).toEqual(JSON.parse(readFileSync(`${OUT}/study.json`, 'utf8')));
    const report = value as never as { cells: { status: string }[]; options: { strategyOptions: unknown } };
    expect(report.cells.map((c) => c.status)).toEqual(['done', 'done', 'infeasible']);
    expect(report.options.strategyOptions).toEqual({ mckp: { solver: 'greedy' } });
    expect(err).toMatch(/^1\/3 {2}uniform w4a8, seed 0: \d+\.\d\d %$/m);
    expect(err).toMatch(/^3\/3 {2}mckp bits=1, seed 0: no assignment meets the budget \(at least bits=2\.000\)$/m);
    const again = await bitloom(...SMALL, '-o', OUT);
    expect([again.code, again.err]).toEqual([0, '3 of 3 cells were done before\n']);
    expect(again.out).toMatch(/^strategy +budget +seeds +accuracy, % .*\nfloat .*\nuniform +w4a8 +1\/1 .*\nmckp +bits=4 +1\/1 .*\nmckp +bits=1 +0\/1 +– /);
    expect(again.out).toContain('mckp bits=1, seed 0: E501');
  });

  test('exits with 3 where no budget can be met', async () => {
    const { code, out, err } = await bitloom(...QUICK, '--strategies', 'uniform,random', '--budgets', 'bits=1', '-o', folder.path('none'), '-q');
    expect(code).toBe(3);
    expect(err).toMatch(/^E501: no uniform bit-width meets the budget$/m);
    expect(out).toContain('random bits=1, seed 0: E501');
    expect(existsSync(folder.path('none/study.html'))).toBe(true);
  });

  test.each([
    ['--strategies', 'mkcp'], ['--strategies', ''], ['--seeds', '1,x'], ['--seeds', '0.5'], ['--epochs', '-1'], ['--strategy-option', 'solver=greedy'], ['--strategy-option', 'mckp.solver'], ['--strategy-option', 'mckp.x=1'],
    ['--finetune-epochs', 'mckp'], ['--finetune-epochs', 'mkcp=1'], ['--budgets', 'speed=3'], ['--precisions', 'w9a9'], ['--precisions', 'f32'],
  ])('%s %j is refused', async (flag, value) => {
    const { code, value: printed } = await json(...SMALL, flag, value, '-o', folder.path('no'));
    expect([code, printed.error!.code]).toEqual([2, 'E101']);
    expect(existsSync(folder.path('no'))).toBe(false);
  });

  test('needs something to study, and a folder of its own', async () => {
    expect((await json(...QUICK, '-o', folder.path('no'))).value.error!.code).toBe('E103');
    mkdirSync(folder.path('taken'));
    writeFileSync(folder.path('taken/precious.txt'), '');
    const { code, value } = await json(...SMALL, '-o', folder.path('taken'));
    expect([code, value.error!.code, readdirSync(folder.path('taken'))]).toEqual([1, 'E703', ['precious.txt']]);
  });

  test('an interrupt leaves the cells that are done, and nothing half-written', async () => {
    const interrupt = new AbortController();
    const out = folder.path('interrupted');
    let err = '';
    const code = await main([...SMALL, '-o', out], {
      out: () => {}, tty: false, signal: interrupt.signal,
      err: (text) => {
        err += text;
        if (text.startsWith('1/3')) interrupt.abort();
      },
    });
    expect(code).toBe(INTERRUPTED);
    expect(err).toMatch(/interrupted\n$/);
    expect(readdirSync(out, { recursive: true }).filter((name) => /\.tmp|\.old/.test(String(name)))).toEqual([]);
    const { err: rest, code: end } = await bitloom(...SMALL, '-o', out);
    expect([end, rest]).toEqual([0, expect.stringMatching(/^1 of 3 cells were done before\n2\/3/)]);
  });
});
