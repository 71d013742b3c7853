/** The guard over a running project: a refused head is kept with its reason and never judged again. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

import type { Judgement } from '../../distill/index.ts'
import type { TaskResult } from '../../pipeline/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { clicks, hourMs, itemIds, latenessMs, onDisk, startTs, testConfig, TestProject } from './fixture.ts'
import { nodeOptions, running } from '../checkout.ts'

const known = itemIds(150)
const first = `heads/round-${String(startTs / hourMs + 1).padStart(12, '0')}`

async function round(it: TestProject, n: number): Promise<void> {
  await it.feed(clicks(300, startTs + n * hourMs, known))
  await it.advance(startTs + (n + 1) * hourMs)
}

/** All raw neighbors must stay: no head that has learned anything can do that. */
const unmet = { guard: { mode: 'enforce', minNeighborRecall: 1 }, training: { learningRate: 1, batch: 128 } }

async function withRefusal(it: TestProject): Promise<void> {
  await it.bootstrap(150)
  await round(it, 1)
  await round(it, 2)
}

test('a candidate that fails is refused and kept with its reason, and is not judged again', async (t) => {
  const it = await TestProject.open(t, { changes: unmet })
  await withRefusal(it)
  const done = await it.daemon.refresh('one')
  deepStrictEqual([done.outcome, done.version, done.code], ['refused', null, 'SIDESTREAM_GUARD_REFUSED'])
  ok(done.message.includes(first) && done.message.includes('content-neighbor-recall'), done.message)
  strictEqual(await it.live(), 1)
  ok((await it.project.artifacts.list('heads/')).includes(first), 'the checkpoint is kept')
  const [judged] = it.control.all('judged')
  deepStrictEqual([judged!.id, judged!.body.verdict], [first, 'refused'])
  const { clauses } = judged!.body.report as { clauses: { name: string; verdict: string }[] }
  ok(clauses.some(({ name, verdict }) => name === 'content-neighbor-recall' && verdict === 'fail'))

  // Nothing newer is complete: the next refresh renews codebooks under the head that is live, and judges nothing.
  const next = await it.daemon.refresh('two')
  deepStrictEqual([next.outcome, next.version], ['live', 2])
  strictEqual((await it.record(2))!.head, 'heads/bootstrap')
  strictEqual(it.control.all('judged').length, 1)

  // A newer checkpoint is judged for itself.
  await round(it, 3)
  strictEqual((await it.daemon.refresh('three')).outcome, 'refused')
  strictEqual(new Set(it.control.all('judged').map(({ id }) => id)).size, 2)
})

test('a threshold of the gate refuses a candidate that the guard lets through', async (t) => {
  const gate = { coldPop: { max: 1 }, recall100: { min: 0.99, max: 1 }, neighborRecall: { min: 1 } }
  const it = await TestProject.open(t, {
    changes: { ...unmet, guard: { mode: 'enforce', minNeighborRecall: 0, minEvents: 0, popAucTolerance: 1, recallTolerance: 1, gate } },
  })
  await withRefusal(it)
  const done = await it.daemon.refresh('one')
  strictEqual(done.outcome, 'refused')
  ok(/the guard refused .*neighborRecall \d\.\d{4}, at least 1 is allowed/.test(done.message), done.message)
  const report = it.control.all('judged')[0]!.body.report as {
    gate: { figure: string; rule: string; verdict: string }[]
    reasons: string[]
  }
  deepStrictEqual(
    report.gate.map(({ figure, rule }) => `${figure}.${rule}`),
    ['coldPop.max', 'recall100.min', 'recall100.max', 'neighborRecall.min'],
  )
  strictEqual(report.gate[3]!.verdict, 'fail')
  ok(report.reasons.length > 0)
})

test('pairs that no training has seen decide about content, when there are enough of them', async (t) => {
  const sources = { clicks: {}, tags: { kind: 'pairs' } }
  const it = await TestProject.open(t, {
    changes: {
      guard: { mode: 'enforce', minNeighborRecall: 0, minEvents: 10, popAucTolerance: 1, recallTolerance: 1, pairRecallTolerance: 1 },
      training: { latenessMs, batch: 128, sources },
    },
  })
  const pairs = (at: number, shift: number): SourceEvent[] =>
    known.map((queryId, i) => {
      const record = { source: 'tags', queryId, targetId: known[(i + shift) % known.length]!, eventTs: at + i }
      return { topic: 'item-pairs', eventTs: record.eventTs, record }
    })
  await it.bootstrap(150)
  for (const n of [1, 2]) {
    const at = startTs + n * hourMs
    await it.feed(pairs(at, n), clicks(300, at, known), pairs(at + hourMs + latenessMs, n).slice(0, 1))
    await it.advance(at + hourMs)
  }
  strictEqual((await it.daemon.refresh('one')).outcome, 'live')
  const { clauses } = it.control.all('judged')[0]!.body.report as { clauses: { name: string; verdict: string; events: number }[] }
  const clause = clauses.find(({ name }) => name === 'content-pair-recall-50')!
  ok(clause.verdict === 'pass' && clause.events > 50, JSON.stringify(clause))
})

/** What a refresh says with a gate, when some ID embeddings came before training and the others in the window. */
async function refreshWith(t: TestContext, gate: object): Promise<{ readonly done: TaskResult; readonly it: TestProject }> {
  const sources = { clicks: {}, ids: { kind: 'ids', entities: ['item'] }, graded: { kind: 'pairs', scored: true, losses: { cosent: 1 } } }
  const it = await TestProject.open(t, {
    changes: {
      guard: { mode: 'enforce', minNeighborRecall: 0, minEvents: 10, popAucTolerance: 1, recallTolerance: 1, gate },
      training: { latenessMs, batch: 128, sources, teachers: { item: { by: 'item' } } },
    },
  })
  const embeddings = (ids: readonly string[], eventTs: number): SourceEvent[] =>
    ids.map((entityId, i) => {
      const vector = Float32Array.of(Math.cos(i), Math.sin(i), 1)
      return { topic: 'id-embeddings', eventTs, record: { entity: 'item', entityId, eventTs, vector, exposures: 100 } }
    })
  const graded = (eventTs: number, shift: number): SourceEvent[] =>
    known.map((queryId, i) => {
      const record = { source: 'graded', queryId, targetId: known[(i + shift) % known.length]!, eventTs, score: i % 3 }
      return { topic: 'item-pairs', eventTs, record }
    })
  /** Says in these topics too that the hour is over. */
  const close = (n: number): SourceEvent[] => {
    const at = startTs + n * hourMs + latenessMs
    return [...embeddings(['pacer'], at), ...graded(at, 7 + n).slice(0, 1)]
  }
  await it.feed(embeddings(known.slice(0, 90), startTs + 1000), graded(startTs + 1000, 1), close(1))
  await it.bootstrap(150)
  for (const n of [1, 2]) {
    const at = startTs + n * hourMs
    await it.feed(clicks(300, at, known), n === 2 ? [...embeddings(known.slice(90), at), ...graded(at, 2)] : [], close(n + 1))
    await it.advance(at + hourMs)
  }
  return { it, done: await it.daemon.refresh('one') }
}

test('figures of spaces are measured in a refresh, and thresholds on them that hold let the candidate through', async (t) => {
  const least = { min: 0.001 }
  const gate = {
    nmi: least,
    coldSeparability: least,
    filteredRecall100: least,
    pairAuc: least,
    top100: { max: 0.999 },
    bijective: { min: 0 },
  }
  const { it, done } = await refreshWith(t, { ...gate, taughtTop100: least, recall100: least })
  strictEqual(done.outcome, 'live', done.message)
  const report = it.control.all('judged')[0]!.body.report as Judgement
  deepStrictEqual(
    report.gate.map(({ figure, verdict }) => `${figure} ${verdict}`),
    [...Object.keys(gate), 'taughtTop100', 'recall100'].map((figure) => `${figure} pass`),
    JSON.stringify(report.gate),
  )
  const { candidate, raw, live } = report.metrics
  for (const name of ['separability', 'dPrime', 'filteredRecall1', 'kendall', 'taughtKendall', 'coldNmi'] as const) {
    for (const figures of [candidate, raw, live!]) ok(typeof figures[name] === 'number', `${name} ${report.notMeasured[name]}`)
  }
  const row = (figure: string): number => report.gate.find((one) => one.figure === figure)!.events
  // Every item that was liked has an ID embedding; those taught that were liked and known before the window.
  const liked = (n: number): string[] => clicks(300, startTs + n * hourMs, known).map(({ record }) => (record as { itemId: string }).itemId)
  const taught = new Set(liked(1).filter((id) => known.indexOf(id) < 90))
  const others = new Set([...liked(1), ...liked(2)].filter((id) => !taught.has(id)))
  deepStrictEqual([row('taughtTop100'), row('top100')], [taught.size, others.size])
  ok(row('pairAuc') > 50 && !report.clauses.some(({ name }) => name === 'content-pair-recall-50'), 'scores only say how well')
  ok(Buffer.byteLength(JSON.stringify(report)) < 20_000, 'figures only')
  deepStrictEqual((await it.daemon.status()).judged, { checkpoint: first, verdict: 'passed', figures: report.metrics })
})

test('a threshold on agreement with ID embeddings that did not teach refuses a candidate in a refresh', async (t) => {
  const { it, done } = await refreshWith(t, { top100: { min: 0.999 }, coldFilteredRecall10: { max: 0 } })
  deepStrictEqual([done.outcome, done.code], ['refused', 'SIDESTREAM_GUARD_REFUSED'])
  ok(/top100 0\.\d{4}, at least 0.999 is allowed/.test(done.message), done.message)
  ok(/coldFilteredRecall10 0\.\d{4}, at most 0 is allowed/.test(done.message), done.message)
  strictEqual(await it.live(), 1)
})

test('refused again after a crash between verdict and answer, with exit code 3; guard.mode report lets it pass', async (t) => {
  const crashing = { on: true }
  const it = await TestProject.open(t, {
    changes: { ...onDisk, ...unmet },
    wrap: (project) => ({
      ...project,
      log: new Proxy(project.log, {
        get: (log, key) => {
          const value: unknown = Reflect.get(log, key, log)
          if (key !== 'producer') return typeof value === 'function' ? value.bind(log) : value
          return async () => {
            const producer = await log.producer()
            const send: typeof producer.send = async (topic, partition, records) => {
              const [record] = records
              const isDone = topic === 'control' && project.codec.decode('control', record!.value!).kind === 'done'
              if (isDone && crashing.on && project.codec.decode('control', record!.value!).id === 'one') throw new Error('crash')
              return producer.send(topic, partition, records)
            }
            return { send, flush: () => producer.flush(), close: () => producer.close() }
          }
        },
      }),
    }),
  })
  await withRefusal(it)
  await it.daemon.refresh('one').then(
    () => ok(false, 'the crash did not come'),
    (error: Error) => strictEqual(error.message, 'crash'),
  )
  strictEqual(it.control.all('judged').length, 1)
  await it.stop()
  crashing.on = false

  const file = join(it.directory, 'sidestream.yaml')
  // JSON is YAML.
  await writeFile(file, JSON.stringify(testConfig(it.directory, { ...onDisk, ...unmet })))
  const cli = fileURLToPath(running(new URL('../../cli/main.ts', import.meta.url)))
  const command = [...nodeOptions, cli, 'refresh', '--id', 'one', '--config', file, '--json']
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' })
  strictEqual(status, 3, stderr)
  const { error } = JSON.parse(stdout || stderr.trim().split('\n').at(-1)!) as { error: { code: string; message: string } }
  strictEqual(error.code, 'SIDESTREAM_GUARD_REFUSED')
  ok(error.message.includes(first), error.message)

  await it.start({ adjust: (config) => ({ ...config, guard: { ...config.guard, mode: 'report' } }) })
  strictEqual(it.control.all('judged').length, 1)
  strictEqual(it.control.all('build').length, 1, 'it ended as without the crash: nothing was built')
  deepStrictEqual((await it.daemon.refresh('two')).outcome, 'live')
  strictEqual((await it.record(2))!.head, first)
  strictEqual(it.control.all('judged').length, 1, 'the verdict stands, and with guard.mode report it does not bind')
})
