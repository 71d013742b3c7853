/** The table of cases in docs/reference/log.md: every test that it names exists, where it says. */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkoutPath } from '../../checkout.ts'

const root = checkoutPath
const contract = join(root, 'test', 'contract')
const suite = readdirSync(contract)
  .filter((name) => name.startsWith('log'))
  .map((name) => readFileSync(join(contract, name), 'utf8'))
  .join('\n')

test('every test that the table of cases names exists', () => {
  const page = readFileSync(join(root, 'docs', 'reference', 'log.md'), 'utf8')
  const rows = page.slice(page.indexOf('## Cases')).matchAll(/^\| ([a-z0-9, -]+) \| [EKP3]+ \| (.*) \|$/gm)
  const [cases, missing]: [string[], string[]] = [[], []]
  for (const [, names, tests] of rows) {
    cases.push(...names!.split(', '))
    let file = suite
    for (const [, named, title] of tests!.matchAll(/`([a-z.-]+)`|"([^"]+)"|; /g)) {
      if (named !== undefined) file = readFileSync(join(root, 'test', 'connectors', 'log', `${named}.test.ts`), 'utf8')
      else if (title === undefined) file = suite
      else if (!file.includes(title)) missing.push(title)
    }
  }
  deepStrictEqual(missing, [])
  ok(cases.length === new Set(cases).size && cases.length > 50, `${cases.length} cases`)
})
