/** Handlebars set up the way every template of Bitloom uses it: strict, no escaping, only known helpers. */
import Handlebars from 'handlebars';

/**
 * Compiles a template whose view does all arithmetic beforehand. An unknown name in the template throws.
 * @typeParam V the view's type
 */
export function compileTemplate<V extends object>(source: string): (view: V) => string {
  const env = Handlebars.create();
  return env.compile<V>(source, { strict: true, noEscape: true, knownHelpersOnly: true, preventIndent: false });
}
