/**
 * Runs every test file under test/ with node:test, compiled, with one Kafka and one Redis for all of them.
 * Invariants: fewer tests run than the floor is a failure, so a suite that silently finds nothing never passes; a service that this
 * run started ends with it, also when it is killed; with CI=true a service that cannot be had is a failure.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'

import { compiledForTests } from './compiled.mjs'

/** Raise it when tests are added; lower it only when tests are removed on purpose. */
const floor = 1100

const wanted = process.argv.slice(2)
const compiled = compiledForTests()
const files =
  wanted.length > 0
    ? wanted
    : readdirSync('test', { recursive: true })
        .map((name) => join('test', String(name)))
        .filter((name) => name.endsWith('.test.ts'))
        .sort()

// Single files look for services themselves, when they need them; the whole run starts them once.
const services = wanted.length > 0 ? { environment: {}, left: [] } : await startServices()
const scratch = mkdtempSync(join(tmpdir(), 'sidestream-test-'))
const summary = join(scratch, 'tap.txt')
const run = spawn(
  process.execPath,
  [
    '--enable-source-maps',
    '--import',
    './scripts/property-seed.mjs',
    '--test',
    '--test-concurrency=3', // of two cores: many tests wait for servers, disks and processes
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=tap',
    `--test-reporter-destination=${summary}`,
    ...files.map((name) => join(compiled, relative('', name)).replace(/\.ts$/, '.js')),
  ],
  { stdio: 'inherit', env: { ...process.env, ...services.environment } },
)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => run.kill(signal))
const [status] = await once(run, 'exit')
const tap = existsSync(summary) ? readFileSync(summary, 'utf8') : '' // a run that was killed has none
rmSync(scratch, { recursive: true, force: true })
const count = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(tap)?.[1] ?? 0)
const skipped = tap
  .split('\n')
  .filter((line) => /# SKIP/.test(line))
  .map((line) => line.trim().replace(/^ok \d+ - /, ''))
if (skipped.length > 0) console.log(`\nleft out (${skipped.length}):\n${skipped.map((line) => `  ${line}`).join('\n')}`)
if (services.left.length > 0) console.log(`\nnot there, so tests were left out:\n${services.left.map((line) => `  ${line}`).join('\n')}`)
if (status !== 0) process.exit(status ?? 1)
if (wanted.length === 0 && count('pass') < floor) {
  console.error(`only ${count('pass')} tests passed, the floor is ${floor}: were test files lost?`)
  process.exit(1)
}

/** Starts or finds the services and says so; they end with this process. */
async function startServices() {
  const { service, serviceEnvironment, serviceNames } = await import(pathToFileURL(join(compiled, 'test', 'services', 'index.js')).href)
  const answers = {}
  for (const name of serviceNames) {
    answers[name] = await service(name).catch((error) => {
      console.error(error.message)
      process.exit(1)
    })
    if (typeof answers[name] === 'string') console.log(`${name}: ${answers[name]}`)
    else console.log(`left out: all tests that need ${name}. ${answers[name].missing}`)
  }
  const left = Object.values(answers).flatMap((answer) => (typeof answer === 'string' ? [] : [answer.missing]))
  return { environment: serviceEnvironment(answers), left }
}
