/** What an operator sees: dead letters, metrics and health, the doctor. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'

import { diagnose, listDeadLetters, startMetrics } from '../../pipeline/index.ts'
import type { Diagnosis, Finding } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { clickOf, clicks, contentOf, hourMs, itemIds, onDisk, startTs, testConfig, TestProject, wantedItems } from './fixture.ts'
import { checkout } from '../checkout.ts'

const later = startTs + 2 * hourMs

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

test('dead letters are listed whole, with code and reason, and the stream goes on', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  const producer = await it.project.log.producer()
  const bad = new Uint8Array([9, 9, 9])
  await producer.send('item-content', 0, [{ key: new TextEncoder().encode('x'), value: bad, headers: [['from', new Uint8Array([1])]] }])
  await producer.send('interactions', 0, [{ key: null, value: bad }])
  await producer.close()
  const soon = clickOf('user-0', 'item-0', it.now + hourMs)
  await it.feed(contentOf('new', later), clickOf('user-0', 'item-0', later, ['dance']), soon)
  const letters = (await listDeadLetters(it.project)).sort((a, b) => (a.place < b.place ? -1 : 1))
  deepStrictEqual(letters.map(({ topic, code }) => `${topic} ${code}`).sort(), [
    'interactions SIDESTREAM_BEHAVIOR_UNKNOWN',
    'interactions SIDESTREAM_EVENT_IN_FUTURE',
    'interactions SIDESTREAM_RECORD_UNDECODABLE',
    'item-content SIDESTREAM_RECORD_UNDECODABLE',
  ])
  const letter = letters.find(({ topic }) => topic === 'item-content')!
  deepStrictEqual([...letter.value!], [...bad])
  deepStrictEqual(new TextDecoder().decode(letter.key!), 'x')
  deepStrictEqual(
    letter.headers.map(([name, value]) => [name, [...value]]),
    [['from', [1]]],
  )
  ok(letters.every(({ reason, at, notWhole, retriedAt }) => reason.length > 10 && at === it.now && notWhole === null && retriedAt === null))
  match(letters.find(({ code }) => code === 'SIDESTREAM_BEHAVIOR_UNKNOWN')!.reason, /dance/)
  ok(await it.readOne('new'))
  strictEqual((await it.daemon.status()).ingest!.poison, 3)
})

test('metrics and health over HTTP', async (t) => {
  const port = await freePort()
  const it = await TestProject.open(t, { changes: { metrics: { port, token: 'a-secret' } } })
  const server = (await startMetrics(it.project, it.daemon))!
  t.after(() => server.close())
  const get = (path: string, token?: string): Promise<Response> =>
    fetch(server.url + path, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } })
  strictEqual(server.url, `http://127.0.0.1:${port}`)

  deepStrictEqual(await (await get('/health')).json(), { live: null })
  for (const token of [undefined, 'a-secreT', 'a-secret-and-more']) {
    const refused = await get('/metrics', token)
    strictEqual(refused.status, 401)
    strictEqual(await refused.text(), '')
  }
  strictEqual((await get('/other', 'a-secret')).status, 404)

  await it.bootstrap()
  await it.feed(contentOf('new', later), contentOf('newer', later))
  deepStrictEqual(await (await get('/health')).json(), { live: 1 })
  const answer = await get('/metrics', 'a-secret')
  strictEqual(answer.status, 200)
  match(answer.headers.get('content-type') ?? '', /^text\/plain/)
  const text = await answer.text()
  match(text, /^sidestream_live_version 1$/m)
  match(text, /^sidestream_lag_records\{lane="publish v1\/item-content\/0"\} 0$/m)
  match(text, /^sidestream_owner_records\{outcome="contents"\} 26$/m)
  match(text, /^sidestream_freshness_ms\{quantile="0\.99"\} \d/m)
  ok(!/item-0|a-secret/.test(text.replaceAll('item-content', '')), 'no ids, no secrets')

  // Of a judgment every figure that could be measured, for each set of vectors.
  ok(!text.includes('sidestream_judged{'), 'nothing was judged')
  const known = itemIds(wantedItems)
  for (const hour of [1, 2]) {
    await it.feed(clicks(48, startTs + hour * hourMs, known))
    await it.advance(startTs + (hour + 1) * hourMs)
  }
  strictEqual((await it.daemon.refresh('now')).version, 2)
  const after = await (await get('/metrics', 'a-secret')).text()
  // Of the newest round and its sample sets what status says, to the number.
  const { training, sets, judged } = await it.daemon.status()
  const { rows, steps, loss } = training!.sources['seq2item']!
  ok(rows > 0 && steps > 0 && loss > 0)
  for (const [figure, value] of Object.entries({ rows, steps, loss }))
    ok(after.includes(`sidestream_training{source="seq2item",figure="${figure}"} ${value}\n`), figure)
  ok(after.includes(`sidestream_training_rows_per_second ${training!.rowsPerSecond}\n`) && training!.rowsPerSecond > 0)
  ok(after.includes(`sidestream_sample_sets{set="plain",outcome="rows"} ${sets!['plain']!.rows}\n`) && sets!['plain']!.rows > 0)
  match(after, /^sidestream_training_diverged 0$/m)
  match(after, /^sidestream_training_diverged_rounds 0$/m)
  strictEqual(judged!.verdict, 'passed')
  match(after, /^sidestream_judged_refused 0$/m)
  const page = await readFile(new URL('docs/reference/metrics.md', checkout), 'utf8')
  for (const [, name] of after.matchAll(/^# HELP (\S+)/gm)) ok(page.includes(`\`${name}`), `${name} is not on the page`)
  for (const set of ['candidate', 'raw', 'live']) match(after, new RegExp(`^sidestream_judged\\{set="${set}",figure="nmi"\\} [01]`, 'm'))
  ok(!/figure="kendall"/.test(after), 'there are no ID embeddings')

  await rejects(startMetrics(it.project, it.daemon), { code: 'SIDESTREAM_ADDRESS_IN_USE' })
})

test('a round that diverged and a head that was refused are seen in status and metrics', async (t) => {
  const port = await freePort()
  const wild = { ...onDisk, metrics: { port }, guard: { mode: 'enforce', minNeighborRecall: 1 }, training: { learningRate: 1, batch: 128 } }
  const it = await TestProject.open(t, { changes: wild })
  const metrics = async (): Promise<string> => {
    const server = (await startMetrics(it.project, it.daemon))!
    const text = await (await fetch(`${server.url}/metrics`)).text()
    await server.close()
    return text
  }
  const known = itemIds(150)
  const round = async (hour: number): Promise<void> => {
    await it.feed(clicks(300, startTs + hour * hourMs, known))
    await it.advance(startTs + (hour + 1) * hourMs)
  }
  await it.bootstrap(150)
  for (const hour of [1, 2]) await round(hour)
  strictEqual((await it.daemon.refresh('one')).outcome, 'refused')
  const { judged, diverged } = await it.daemon.status()
  deepStrictEqual([judged!.verdict, diverged], ['refused', { rounds: 0, newest: null }])
  match(await metrics(), /^sidestream_judged_refused 1$/m)

  await it.stop()
  await it.start({ adjust: (config) => ({ ...config, training: { ...config.training, learningRate: 1e30, warmupSteps: 0 } }) })
  await round(3)
  const { diverged: now } = await it.daemon.status()
  strictEqual(now!.rounds, 1)
  match(now!.newest!, /^training diverged at step \d+/)
  const text = await metrics()
  match(text, /^sidestream_training_diverged 1$/m)
  match(text, /^sidestream_training_diverged_rounds 1$/m)

  await it.stop()
  await it.start()
  await round(4)
  deepStrictEqual((await it.daemon.status()).diverged, { rounds: 1, newest: null })
})

test('without a port there are no metrics', async (t) => {
  const it = await TestProject.open(t)
  strictEqual(await startMetrics(it.project, it.daemon), undefined)
})

test('the doctor says what is well and what is not', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const path = join(directory, 'sidestream.yaml')
  const failed = ({ findings }: Diagnosis): Finding[] => findings.filter(({ ok: fine }) => !fine)

  const missing = await diagnose(path, {})
  deepStrictEqual(
    failed(missing).map(({ check }) => check),
    ['configuration'],
  )
  ok(failed(missing)[0]!.message.includes(path))

  await writeFile(path, JSON.stringify({ ...testConfig(directory), trainnig: {} }))
  match(failed(await diagnose(path, {}))[0]!.message, /trainnig.*training/s)

  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  await writeFile(path, JSON.stringify(testConfig(it.directory, onDisk)))
  const busy = failed(await diagnose(path, {}))
  strictEqual(busy.length, 1)
  match(busy[0]!.message, /in use|another process/i)

  await it.stop()
  const well = await diagnose(path, {})
  deepStrictEqual(failed(well), [])
  deepStrictEqual(
    well.findings.slice(-3).map(({ message }) => message),
    [
      'file log, 11 topics',
      '11 of 11 are as they should be, 0 missing, 0 with another partition count',
      'lmdb store, 1 versions, version 1 live',
    ],
  )
})
