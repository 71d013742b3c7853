/** Runs the benchmarks under bench/ (all, or those whose names contain the first argument). Further arguments are passed on. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

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
for (const file of files) {
  const run = spawnSync(process.execPath, ['--import', 'tsx', `bench/${file}`, ...rest], { stdio: 'inherit' })
  if (run.status !== 0) process.exit(run.status ?? 1)
}
