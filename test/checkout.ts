/** Where tests find the checkout and start its modules; `scripts/test.mjs` runs tests compiled, tsx runs them from sources. */
import { fileURLToPath } from 'node:url'

const compiled = import.meta.url.endsWith('.js')

/** The checkout, as a URL that ends with a slash: what is not compiled, such as pages and sources as text. */
export const checkout = new URL(compiled ? '../../../' : '../', import.meta.url)
/** The same as a path. */
export const checkoutPath = fileURLToPath(checkout)

/** What node takes before a module written in TypeScript. */
export const throughTsx: readonly string[] = ['--import', import.meta.resolve('tsx')]
/** What node takes before a script of this checkout, wherever it starts. */
export const nodeOptions: readonly string[] = compiled ? [] : throughTsx

/** The module that runs for a source beside this one: `running(new URL('./child.ts', import.meta.url))`. */
export function running(source: URL): URL {
  return compiled ? new URL(source.href.replace(/\.ts$/, '.js')) : source
}
