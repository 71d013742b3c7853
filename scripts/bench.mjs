/**
 * Runs the benchmarks under bench/ (all, or those whose names contain the first argument), compiled: through tsx every thread would load
 * its modules several times slower. Further arguments are passed on.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

import { compiledForTests } from './compiled.mjs'

const [name = '', ...rest] = process.argv.slice(2)
const files = readdirSync('bench').filter((file) => file.endsWith('.bench.ts') && file.includes(name))
if (files.length === 0) {
  console.error(
    `no benchmark is named like "${name}"; there are: ${readdirSync('bench')
      .filter((f) => f.endsWith('.bench.ts'))
      .join(', ')}`,
  )
  process.exit(2)
}
const compiled = compiledForTests()
for (const file of files) {
  const run = spawnSync(process.execPath, [join(compiled, 'bench', file.replace(/\.ts$/, '.js')), ...rest], { stdio: 'inherit' })
  if (run.status !== 0) process.exit(run.status ?? 1)
}
