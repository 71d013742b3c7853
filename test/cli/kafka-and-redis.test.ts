/** The commands on Kafka and Redis, as whoever runs the platform calls them. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { isMissing, kafkaService, redisService } from '../services/index.ts'
import { run, runFailing, runJson, start } from './command.ts'
import { writeConfig } from './shop.ts'
import { nodeOptions, running } from '../checkout.ts'

const kafka = await kafkaService()
const redis = await redisService()
const skip = isMissing(kafka) ? kafka.missing : isMissing(redis) ? redis.missing : false
const prefix = `cli-${randomBytes(5).toString('hex')}`
const script = fileURLToPath(running(new URL('../../examples/small-shop/make-files.ts', import.meta.url)))
let home = ''

/** Writes the small shop's configuration, on the servers of the tests. */
function writeShop(name: string, partitions: number, log?: string): Promise<void> {
  if (isMissing(kafka) || isMissing(redis)) throw new Error('no servers')
  const ours = `{ driver: kafka, partitions: ${partitions}, kafka: { brokers: ['${kafka.brokers[0]}'], topicPrefix: ${prefix}. } }`
  return writeConfig(home, name, {
    'project: shop': `project: ${prefix}`,
    'log: { partitions: 2 }': `log: ${log ?? ours}\nstore: { driver: redis, redis: { nodes: ['${redis.host}:${redis.port}'] } }`,
  })
}

before(async () => {
  if (skip !== false) return
  home = await mkdtemp(join(tmpdir(), 'sidestream-cli-'))
  await promisify(execFile)(process.execPath, [...nodeOptions, script, home])
  await writeShop('sidestream.yaml', 2)
})

after(() => rm(home, { recursive: true, force: true }))

test('from missing topics to features, and commands beside a running daemon', { skip, timeout: 240_000 }, async (t) => {
  await t.test('what is missing is named, planned, and made only when told to', async () => {
    const bare = await run(['doctor'], home)
    strictEqual(bare.code, 1)
    match(bare.stdout, /FAILED topics: 11 topics are missing: .*interactions/)
    match((await runFailing(['run'], home, 1)).message, /11 topics are missing.*doctor --create-topics/)
    const plan = await run(['doctor', '--create-topics'], home)
    strictEqual(plan.code, 0)
    match(plan.stdout, /item-content: missing: 2 partitions, cleanup compact/)
    match(plan.stdout, /Nothing was created\. Add --apply/)
    strictEqual((await run(['doctor'], home)).code, 1, 'still missing')
    const applied = await run(['doctor', '--create-topics', '--apply'], home)
    strictEqual(applied.code, 0)
    match(applied.stdout, /item-content: created, 2 partitions, cleanup compact[^]*11 topics were created\. Every topic is there\./)
    const good = await runJson(['doctor'], home)
    strictEqual(good['ok'], true)
    match((await runFailing(['doctor', '--apply'], home, 2)).message, /--create-topics is meant/)
  })

  await t.test('another partition count is named with both numbers, before anything is done', async () => {
    await writeShop('wide.yaml', 4)
    const refused = await runFailing(['run', '--config', 'wide.yaml'], home, 1)
    strictEqual(refused.code, 'SIDESTREAM_TOPIC_MISMATCH')
    match(refused.message, /distill-samples has 2 (partitions )?instead of 4/)
    ok(!/\binteractions has/.test(refused.message), 'an input topic has the count that its owner gave it')
  })

  await t.test('import, run, read, and go back beside the daemon', async () => {
    const imported = await runJson(['import', '--content', 'content.parquet', '--interactions', 'interactions.csv', '--end'], home)
    ok(Number(imported['appended']) > 1000)
    strictEqual((await runJson(['import', '--content', 'content.parquet'], home))['appended'], 0)
    strictEqual((await runJson(['run', '--until-idle'], home))['live'], 1)
    const daemon = start(['run'], home)
    try {
      await daemon.says('running')
      strictEqual((await runJson(['refresh'], home))['version'], 2)
      strictEqual((await runJson(['versions', 'rollback'], home))['version'], 1)
      const { features } = (await runJson(['get', 'item-1', 'nothing'], home)) as { features?: unknown[] }
      ok(features === undefined || features.length === 2)
      strictEqual((await runFailing(['versions', 'activate', '9'], home, 1)).code, 'SIDESTREAM_VERSION_UNKNOWN')
    } finally {
      daemon.child.kill('SIGTERM')
    }
    deepStrictEqual([(await daemon.ended).code], [0])
  })

  await t.test('files that are cut or hold bad rows, and dead letters', async () => {
    const whole = await readFile(join(home, 'content.parquet'))
    await writeFile(join(home, 'cut.parquet'), whole.subarray(0, whole.length / 2))
    const rows = [
      'user_id,item_id,ts,behaviors',
      'ann,item-1,1767571200000,click',
      'ann,item-2,yesterday,click',
      'ann,item-3,1767571200000,dance',
    ]
    await writeFile(join(home, 'rows.csv'), `${rows.join('\n')}\n`)
    await writeFile(join(home, 'broken.csv'), `${rows.slice(0, 2).join('\n')}\nann,item-2\n`)
    const refused = (file: string, kind = '--interactions') => runFailing(['import', kind, file], home, 1)
    const told = await Promise.all([refused('cut.parquet', '--content'), refused('broken.csv'), refused('nothing.csv')])
    deepStrictEqual(
      told.map(({ code }) => code),
      ['SIDESTREAM_FILE_INVALID', 'SIDESTREAM_FILE_INVALID', 'SIDESTREAM_FILE_UNREADABLE'],
    )
    match(told[0]!.message, /^cut\.parquet: cut short or damaged/)
    match(told[1]!.message, /^broken\.csv: line 3 is broken \(Invalid Record Length: expect 4, got 2\): mend it/)
    const imported = await run(['import', '--interactions', 'rows.csv', '--json'], home)
    deepStrictEqual(JSON.parse(imported.stdout), { appended: 2, skipped: 0, refused: 1, ended: false })
    match(imported.stderr, /left out: rows\.csv: row 2, column ts: must be a finite number \(got "yesterday"\)/)
    strictEqual((await run(['run', '--until-idle'], home)).code, 0)
    const list = async () =>
      (await runJson(['dead-letters', 'list', '--topic', 'interactions'], home))['letters'] as Record<string, unknown>[]
    const [letter, ...more] = await list()
    deepStrictEqual([letter?.['code'], letter?.['retriedAt'], more.length], ['SIDESTREAM_BEHAVIOR_UNKNOWN', null, 0])
    deepStrictEqual(await runJson(['dead-letters', 'retry', '--code', 'SIDESTREAM_BEHAVIOR_UNKNOWN'], home), { retried: 1, left: [] })
    ok(Number((await list())[0]!['retriedAt']) > 0)
    match((await runFailing(['dead-letters', 'list', '--topic', 'clicks'], home, 2)).message, /no topic clicks; topics are .*interactions/)
    match(
      (await runFailing(['dead-letters', 'retry', '--code', 'BAD'], home, 2)).message,
      /no error code BAD; dead letters have .*SIDESTREAM_/,
    )
  })

  await t.test('an address where nothing listens ends with 1 and is named; no password is shown', async () => {
    const away = `{ driver: kafka, kafka: { brokers: ['127.0.0.1:9'], connectTimeoutMs: 500, sasl: plain, username: ann, password: hunter2secret } }`
    await writeShop('away.yaml', 2, away)
    const ended = await run(['run', '--config', 'away.yaml'], home)
    strictEqual(ended.code, 1)
    match(ended.stderr, /SIDESTREAM_LOG_UNAVAILABLE.*127\.0\.0\.1:9/)
    ok(!`${ended.stdout}${ended.stderr}`.includes('hunter2secret'))
  })
})
