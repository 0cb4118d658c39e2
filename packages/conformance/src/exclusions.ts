/** Lists of node cases that a runtime does not pass, and what keeps them honest. */

/** Cases (whole names, without `test_`) that must fail, and why. */
export interface Exclusion {
  readonly cases: RegExp;
  readonly reason: string;
}

export const excluded = (list: readonly Exclusion[], name: string): Exclusion | null => list.find((x) => x.cases.test(name)) ?? null;

/**
 * Everything in which outcomes (null: passed) differ from what a list says: a failure that it does not name, an excluded case
 * that passes, an entry without a case.
 */
export function disagreements(list: readonly Exclusion[], outcomes: ReadonlyMap<string, string | null>): string[] {
  const used = new Set<Exclusion>();
  const wrong = [...outcomes].flatMap(([name, outcome]) => {
    const x = excluded(list, name);
    if (x) used.add(x);
    if (x && outcome === null) return [`${name} passes: take it off the list (${x.reason})`];
    return !x && outcome !== null ? [`${name}: ${outcome}`] : [];
  });
  return [...wrong, ...list.filter((x) => !used.has(x)).map((x) => `${x.cases} (${x.reason}) fits no case`)];
}
