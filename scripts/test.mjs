/**
 * Runs every test file under test/ with node:test through tsx.
 * Invariant: fewer tests run than the floor is a failure, so a suite that silently finds nothing never passes.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Raise it when tests are added; lower it only when tests are removed on purpose. */
const floor = 850

const wanted = process.argv.slice(2)
const files =
  wanted.length > 0
    ? wanted
    : readdirSync('test', { recursive: true })
        .map((name) => join('test', String(name)))
        .filter((name) => name.endsWith('.test.ts'))
        .sort()
const scratch = mkdtempSync(join(tmpdir(), 'sidestream-test-'))
const summary = join(scratch, 'tap.txt')
const run = spawnSync(
  process.execPath,
  [
    '--import',
    'tsx',
    '--import',
    './scripts/property-seed.mjs',
    '--test',
    '--test-concurrency=2',
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=tap',
    `--test-reporter-destination=${summary}`,
    ...files,
  ],
  { stdio: 'inherit' },
)
const tap = readFileSync(summary, 'utf8')
rmSync(scratch, { recursive: true, force: true })
const count = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(tap)?.[1] ?? 0)
const skipped = tap
  .split('\n')
  .filter((line) => /# SKIP/.test(line))
  .map((line) => line.trim().replace(/^ok \d+ - /, ''))
if (skipped.length > 0) console.log(`\nleft out (${skipped.length}):\n${skipped.map((line) => `  ${line}`).join('\n')}`)
if (run.status !== 0) process.exit(run.status ?? 1)
if (wanted.length === 0 && count('pass') < floor) {
  console.error(`only ${count('pass')} tests passed, the floor is ${floor}: were test files lost?`)
  process.exit(1)
}
