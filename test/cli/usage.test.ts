/** What the command line answers to those who mistype: exit code 2, the place, and what would be right. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Command } from 'commander'

import { waitOption } from '../../cli/wait-option.ts'
import { kafkaLogDefaults } from '../../connectors/index.ts'
import { refuses, run, runFailing, runJson } from './command.ts'
import { writeConfig } from './shop.ts'

let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-cli-'))
  await writeConfig(home)
})

after(() => rm(home, { recursive: true, force: true }))

test('help names every command', async () => {
  const { code, stdout } = await run(['--help'], home)
  strictEqual(code, 0)
  for (const command of [
    'demo',
    'run',
    'import',
    'distill',
    'embed',
    'sid',
    'refresh',
    'versions',
    'get',
    'dead-letters',
    'auc',
    'schemas',
    'doctor',
  ]) {
    match(stdout, new RegExp(`^  ${command} `, 'm'))
  }
})

test('help of distill and embed names exit codes and the guide', async () => {
  for (const [command, codes] of [
    ['distill', /^Exit codes: 0 .*; 1 .*; 2 .*; 3 refused by the guard\.$/m],
    ['embed', /^Exit codes: 0 .*; 1 .*; 2 .*\.$/m],
  ] as const) {
    const { stdout } = await run([command, '--help'], home)
    match(stdout, codes)
    match(stdout, /^Guide: docs\/how-to\/train-in-stages\.md/m)
  }
})

test('bad usage ends with 2, one JSON object and a hint', async () => {
  const cases: [args: string[], message: RegExp][] = [
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['import', '--interaction', 'x.csv'], /unknown option '--interaction'\n\(Did you mean --interactions\?\)/],
    [['import'], /nothing to import: give --interactions/],
    [['versions', 'show', 'two'], /version must be a whole number of at least 1, not "two"/],
    [['demo', '--scale', '10'], /--scale must be a whole number of at least 20, not "10": a smaller world is too small to be judged/],
    [['run', '--roles', 'ingest,distil'], /there is no role "distil"; roles are ingest, distill, publish/],
    [['run', '--roles', 'distill'], /role distill builds versions that the role publish writes.* give it both/],
  ]
  await refuses(cases, home, 2, 'SIDESTREAM_USAGE_INVALID')
  // One through a process of its own.
  match((await runFailing(['frobnicate'], home, 2)).message, /unknown command/)
})

test('a configuration that is missing or mistyped ends with 2 and names the option and the line', async () => {
  const missing = await runFailing(['get', 'item-1', '--config', 'shop.yaml'], home, 2)
  deepStrictEqual(missing.code, 'SIDESTREAM_CONFIG_INVALID')
  match(missing.message, /no configuration file shop\.yaml: name yours with --config/)
  await writeConfig(home, 'typo.yaml', { positiveBehaviors: 'postiveBehaviors' })
  const typo = await runFailing(['get', 'item-1', '--config', 'typo.yaml'], home, 2)
  match(typo.message, /interactions\.postiveBehaviors: is not an option; did you mean `positiveBehaviors`\?, line \d+/)
})

test('a certificate file that is missing is named with its option', async () => {
  const servers =
    'log: { driver: kafka, kafka: { brokers: ["127.0.0.1:9"], tls: true, caFile: absent.pem } }\n' +
    'store: { driver: redis, redis: { nodes: ["127.0.0.1:9"], tls: true, caFile: absent.pem } }\n' +
    'schemaRegistry: { url: "https://127.0.0.1:9", certFile: absent.pem, keyFile: absent.pem }'
  await writeConfig(home, 'certificates.yaml', { 'log: { partitions: 2 }': servers })
  const { code, stdout } = await run(['doctor', '--config', 'certificates.yaml'], home)
  strictEqual(code, 1)
  for (const option of ['log.kafka.caFile', 'store.redis.caFile', 'schemaRegistry.certFile']) {
    match(stdout, new RegExp(`absent\\.pem: there is no such file; check the path \\(option: ${option}\\)`))
  }
})

test('a command waits long enough for one that stands by to take over after a kill', () => {
  const { wait } = waitOption(new Command()).opts<{ wait: number }>()
  ok(wait * 1000 >= 2 * kafkaLogDefaults.sessionTimeoutMs, `${wait} s`)
})

test('doctor finds nothing wrong with a good project and says what is wrong with a bad one', async () => {
  const good = await runJson(['doctor'], home)
  const findings = good['findings'] as { check: string; ok: boolean; message: string }[]
  strictEqual(good['ok'], true)
  deepStrictEqual(
    findings.map(({ check }) => check),
    ['node', 'configuration', 'compute', 'data directory', 'log', 'topics', 'store'],
  )
  deepStrictEqual(
    findings.slice(4).map(({ message }) => message),
    [
      'file log, 11 topics',
      '11 of 11 are as they should be, 0 missing, 0 with another partition count',
      'lmdb store, 0 versions, nothing live yet',
    ],
  )
  await writeConfig(home, 'bad.yaml', { 'levels: [8, 8]': 'levels: [8, 1]' })
  const bad = await run(['doctor', '--config', 'bad.yaml'], home)
  strictEqual(bad.code, 2)
  match(bad.stdout, /FAILED configuration: bad\.yaml has a problem:\n  semanticIds\.levels\.1: must be at least 2 \(got 1\), line \d+/)
  ok(!bad.stdout.includes('data directory'), 'nothing is checked that needs the configuration')
})
