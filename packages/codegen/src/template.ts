/** Handlebars set up the way every template of Bitloom uses it: strict, no escaping, only known helpers. */
import Handlebars from 'handlebars';

/** Strict mode leaves the operands of blocks unchecked, where a misspelt flag would count as false. */
function strictBlocks(env: typeof Handlebars): void {
  for (const name of ['if', 'unless', 'each', 'with']) {
    const block = env.helpers[name];
    env.registerHelper(name, function (this: unknown, value: unknown, options: Handlebars.HelperOptions & { loc: { start: { line: number } } }): string {
      if (value === undefined) throw new Error(`{{#${name}}} of an unknown name in line ${options.loc.start.line}`);
      return block.call(this, value, options) as string;
    });
  }
}

/**
 * Compiles a template whose view does all arithmetic beforehand. An unknown name in the template throws when it is reached.
 * @typeParam V the view's type
 */
export function compileTemplate<V extends object>(source: string): (view: V) => string {
  const env = Handlebars.create();
  strictBlocks(env);
  return env.compile<V>(source, { strict: true, noEscape: true, knownHelpersOnly: true });
}
