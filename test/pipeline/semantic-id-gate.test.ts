/** Figures of a build's semantic IDs: in the record of the version beside the live ones, and thresholds that refuse it. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { fitCodebooks, qualityReport } from '../../semantic-ids/index.ts'
import { sidFigures } from '../../schemas/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { clicks, hourMs, itemIds, items, normal, onDisk, startTs, TestProject, wantedItems } from './fixture.ts'
import type { TestOptions } from './fixture.ts'

const known = itemIds(wantedItems)
const enforce = { mode: 'enforce', minEvents: 100_000 }

interface Figure {
  readonly value: number
  readonly before: number | null
  readonly delta: number | null
}

interface Policy {
  readonly figures: Readonly<Record<string, Figure>>
  readonly gate: readonly { readonly figure: string; readonly rule: string; readonly bound: number; readonly verdict: string }[]
}

async function policyOf(it: TestProject, version: number): Promise<Policy> {
  return (await it.record(version))!.metrics['policy'] as Policy
}

async function sids(it: TestProject, version: number, ids: readonly string[]): Promise<string[]> {
  return (await it.read(ids, { version })).map((feature) => feature!.sid.join())
}

const shareOfDistinct = (codes: readonly string[]): number => new Set(codes).size / codes.length

/** Collects what the daemon warns of. */
function warned(warnings: string[]): TestOptions['wrap'] & {} {
  return (project) => ({
    ...project,
    logger: { ...project.logger, info: () => {}, error: () => {}, warn: (_: object, text: string) => void warnings.push(text) } as never,
  })
}

async function withRounds(it: TestProject, rounds: number): Promise<void> {
  await it.bootstrap()
  for (let round = 1; round <= rounds; round++) {
    await it.feed(clicks(48, startTs + round * hourMs, known))
    await it.advance(startTs + (round + 1) * hourMs)
  }
}

test('the names a gate may use are those of the report, as far as a build measures them', async () => {
  const rows = 60
  const ids = itemIds(rows)
  const vectors = Float32Array.from({ length: rows * 4 }, (_, at) => normal(`gate ${at}`))
  const { codebooks, settings } = await fitCodebooks(vectors, ids, 4, { sizes: [4, 3], seed: 1, iterations: 3 })
  const codes = Uint16Array.from({ length: rows * 2 }, (_, at) => (at * 7) % 3)
  const labels = ids.map((_, row) => String(row % 3))
  const report = await qualityReport({ codes, sizes: [4, 3], ids, vectors, codebooks, settings, labels, before: { codes, ids } })
  const judged = report.figures.filter(({ better }) => better !== null).map(({ figure }) => figure)
  deepStrictEqual(sidFigures(2).sort(), judged.sort())
})

test('figures stand in the record beside those of the live IDs, as readers see both; labels and hits where they are asked for', async (t) => {
  const gate = { 'prefix1.purity': { min: 0 }, 'prefix2.hitRecall': { min: 0 }, maxBucket: { max: 100 }, 'churn.full': { max: 1 } }
  const it = await TestProject.open(t, {
    changes: { semanticIds: { gate, churnBudget: 1 }, guard: enforce, training: { learningRate: 0.3 } },
  })
  const labelled = (event: SourceEvent, at: number): SourceEvent =>
    ({ ...event, record: { ...event.record, labels: [`kind-${at % 2}`] } }) as SourceEvent
  await it.feed(items(wantedItems).map(labelled))
  await it.advance(startTs + hourMs)
  for (const round of [1, 2]) {
    await it.feed(clicks(48, startTs + round * hourMs, known))
    await it.advance(startTs + (round + 1) * hourMs)
  }
  strictEqual((await it.daemon.refresh('now')).outcome, 'live')
  const [old, next] = [await sids(it, 1, known), await sids(it, 2, known)]
  const [first, second] = [await policyOf(it, 1), await policyOf(it, 2)]
  deepStrictEqual(first.figures['uniqueRate'], { value: shareOfDistinct(old), before: null, delta: null })
  const [before, value] = [shareOfDistinct(old), shareOfDistinct(next)]
  deepStrictEqual(second.figures['uniqueRate'], { value, before, delta: value - before })
  strictEqual(second.figures['churn.full']!.value, known.filter((_, i) => old[i] !== next[i]).length / known.length)
  ok(second.figures['churn.full']!.value > 0 && first.figures['churn.full'] === undefined)
  for (const figure of ['fvu', 'level1.dead', 'level2.coverage', 'prefix1.purity', 'prefix2.hitRecall'])
    ok(Number.isFinite(second.figures[figure]?.value) && Number.isFinite(second.figures[figure]?.before), figure)
  deepStrictEqual(
    second.gate.map(({ figure, rule, bound, verdict }) => [figure, rule, bound, verdict]),
    [
      ['prefix1.purity', 'min', 0, 'pass'],
      ['prefix2.hitRecall', 'min', 0, 'pass'],
      ['maxBucket', 'max', 100, 'pass'],
      ['churn.full', 'max', 1, 'pass'],
    ],
  )
})

test('a threshold refuses the build with value and bound; the live version goes on; a guard that only reports lets it pass', async (t) => {
  const warnings: string[] = []
  const it = await TestProject.open(t, {
    changes: {
      ...onDisk,
      semanticIds: { gate: { 'churn.full': { max: 0 } }, churnBudget: 1 },
      guard: enforce,
      training: { learningRate: 0.3 },
    },
    wrap: warned(warnings),
  })
  await withRounds(it, 2)
  ok(
    warnings.some((text) => /semanticIds\.gate: not judged.*churn\.full/.test(text)),
    'first codebooks have nothing to be compared with',
  )
  const done = await it.daemon.refresh('now')
  deepStrictEqual([done.outcome, done.code, await it.live(), await it.record(2)], ['refused', 'SIDESTREAM_GUARD_REFUSED', 1, undefined])
  ok(/churn\.full 0\.\d+, at most 0 is allowed/.test(done.message), done.message)
  const { figures, gate } = done.details as unknown as Policy
  ok(figures['churn.full']!.value > 0)
  deepStrictEqual(
    gate.map(({ figure, bound, verdict }) => [figure, bound, verdict]),
    [['churn.full', 0, 'fail']],
  )
  const { refused } = await it.daemon.status()
  deepStrictEqual([refused!.id, refused!.message, refused!.details], ['now', done.message, done.details])
  deepStrictEqual(it.control.find('done', 'now')!.body, done)

  await it.stop()
  await it.start({ adjust: (config) => ({ ...config, guard: { ...config.guard, mode: 'report' } }) })
  strictEqual((await it.daemon.refresh('reported')).outcome, 'live')
  ok(warnings.some((text) => /semanticIds\.gate refused.*churn\.full .*it goes on/.test(text)))
  strictEqual((await it.daemon.status()).refused, null, 'the newest refresh was not refused')
})

test('first codebooks are judged too; what the live IDs have no level for, and what a re-base cannot compare, is not judged', async (t) => {
  const warnings: string[] = []
  const it = await TestProject.open(t, {
    changes: { ...onDisk, semanticIds: { gate: { uniqueRate: { min: 1.5 } } }, guard: enforce },
    wrap: warned(warnings),
  })
  await it.bootstrap()
  strictEqual(await it.live(), null)
  const refused = it.control.find('done', 'bootstrap')!.body
  ok(/uniqueRate 0\.\d+, at least 1\.5 is allowed\. Change the quantizer or the threshold/.test(refused.message), refused.message)
  const restart = async (changes: object): Promise<void> => {
    await it.stop()
    await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...changes } }) })
    await it.daemon.idle()
  }
  const none = { min: null, max: null, maxLoss: null }
  const gate = { uniqueRate: { ...none, min: 0.1, maxLoss: 0.9 }, 'level3.dead': { ...none, max: 8 }, 'churn.full': { ...none, max: 0 } }
  await restart({ gate, levels: [8, 8, 8] })
  strictEqual((await it.daemon.refresh('first')).version, 2)
  const gateOf = async (version: number): Promise<string[]> =>
    (await policyOf(it, version)).gate.map(({ figure, rule }) => `${figure}.${rule}`)
  deepStrictEqual(await gateOf(2), ['uniqueRate.min', 'level3.dead.max'])
  await restart({ gate: { ...gate, 'level4.dead': { ...none, max: 0 } }, levels: [8, 8, 8, 8], churnBudget: 0 })
  warnings.length = 0
  strictEqual((await it.daemon.refresh('second')).version, 3)
  ok(warnings.some((text) => /not judged, .*: level4\.dead$/.test(text)))
  deepStrictEqual(await gateOf(3), ['uniqueRate.min', 'uniqueRate.maxLoss', 'level3.dead.max', 'churn.full.max'])
  await restart({ gate, levels: [8, 8, 8], idSpace: 'second', seed: 5 })
  const rebased = await it.daemon.refresh('rebase')
  deepStrictEqual([rebased.outcome, await gateOf(4)], ['live', ['uniqueRate.min', 'uniqueRate.maxLoss', 'level3.dead.max']])
})
