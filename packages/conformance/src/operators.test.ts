import { readFileSync } from 'node:fs';
import { IMPORTERS } from '@bitloom/onnx';
import { OPS } from '@bitloom/ops';
import { describe, expect, it } from 'vitest';
import { ADDED_OPS, WITHOUT_CASE, operatorsDocument } from './operators.js';
import type { Results } from './results.js';

const results = JSON.parse(readFileSync(new URL('../results.json', import.meta.url), 'utf8')) as Results;

describe('registries', () => {
  it('every core op has a meaning and occurs in a case that is imported', () => {
    expect([...OPS.values()].filter((o) => o.summary.trim() === '').map((o) => o.name)).toEqual([]);
    expect([...OPS.keys()].filter((name) => !results.coreOps[name])).toEqual([...ADDED_OPS]);
    expect(Object.keys(results.coreOps).filter((name) => !OPS.has(name))).toEqual([]);
  });

  it('every importer has a case that passes on all runtimes, or a reason', () => {
    const passes = (name: string): boolean => results.operators[name]?.passed.every((n) => n > 0) ?? false;
    expect([...IMPORTERS.keys()].filter((name) => !passes(name) && !WITHOUT_CASE.has(name))).toEqual([]);
    expect([...WITHOUT_CASE.keys()].filter((name) => passes(name) || !IMPORTERS.has(name))).toEqual([]);
  });

  it('docs/operators.md is up to date', () => {
    const found = readFileSync(new URL('../../../docs/operators.md', import.meta.url), 'utf8');
    expect(found, 'docs/operators.md is stale: npx tsc -b && node tools/operators.mjs').toBe(operatorsDocument(results));
  });
});
