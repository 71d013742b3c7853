/** Refreshes: when they come, what they renew, the churn budget and the distortion ceiling. */
import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { clickOf, clicks, contentOf, hourMs, itemIds, items, latenessMs, onDisk, startTs, TestProject, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)

/** Share of items whose semantic ID differs between two versions. */
async function measuredChurn(it: TestProject, before: number, after: number, ids: readonly string[]): Promise<number> {
  const [old, next] = [await it.read(ids, { version: before }), await it.read(ids, { version: after })]
  const moved = ids.filter((_, i) => old[i]!.sid.join() !== next[i]!.sid.join())
  return moved.length / ids.length
}

/** Version 1 at the first hour, then hours of clicks, each trained when it has passed. */
async function withRounds(it: TestProject, rounds: number): Promise<void> {
  await it.bootstrap()
  for (let round = 1; round <= rounds; round++) {
    await it.feed(clicks(48, startTs + round * hourMs, known))
    await it.advance(startTs + (round + 1) * hourMs)
  }
}

test('scheduled refreshes come at boundaries of event time, with heads that users taught, also when no content comes', async (t) => {
  const it = await TestProject.open(t, { changes: { refresh: { everyMs: 2 * hourMs } } })
  const builds = (): object[] =>
    it.control
      .all('build')
      .map(({ body: { version, reason, parent, cutTs } }) => ({ version, reason, parent, at: (cutTs - startTs) / hourMs }))
  await withRounds(it, 2)
  const [first, second] = [
    { version: 1, reason: 'bootstrap', parent: null, at: 1 },
    { version: 2, reason: 'scheduled', parent: 1, at: 3 },
  ]
  deepStrictEqual(builds(), [first, second])
  strictEqual(await it.live(), 2)

  for (const hour of [3, 4]) await it.feed(clicks(48, startTs + hour * hourMs, known))
  await it.feed(clickOf('pacer', 'pacer', startTs + 5 * hourMs + latenessMs, ['view']))
  strictEqual(it.control.all('trained').length, 2, 'the content partition is silent, and may still bring content')
  it.now += hourMs
  while (it.control.all('tick').length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  await it.daemon.idle()
  strictEqual(it.control.all('trained').length, 4)
  deepStrictEqual(builds(), [first, second, { version: 3, reason: 'scheduled', parent: 2, at: 5 }])
  strictEqual(await it.live(), 3)
  // The checkpoint of a round is judged on the hour after it, so the head is one round older than the cut.
  const trained = await Promise.all([2, 3].map(async (version) => ((await it.record(version))!.trainedUntil - startTs) / hourMs))
  deepStrictEqual(trained, [2, 4])
  strictEqual(it.control.all('judged').length, 2)
})

test('a refresh by command without a newer checkpoint renews codebooks only, within the churn budget', async (t) => {
  const churnBudget = 0.25
  const it = await TestProject.open(t, { changes: { semanticIds: { churnBudget } } })
  await it.bootstrap()
  await it.feed(items(30, startTs + hourMs, wantedItems))
  await it.advance(startTs + 2 * hourMs)
  const ids = itemIds(wantedItems + 30)
  const before = (await it.read(ids)).map((feature) => feature!.vector)
  const done = await it.daemon.refresh('now')
  deepStrictEqual([done.outcome, done.version], ['live', 2])
  const [first, second] = [(await it.record(1))!, (await it.record(2))!]
  strictEqual(second.head, first.head)
  notStrictEqual(second.codebook, first.codebook)
  deepStrictEqual(
    (await it.read(ids)).map((feature) => feature!.vector),
    before,
  )
  const churn = await measuredChurn(it, 1, 2, ids)
  ok(churn > 0 && churn <= churnBudget, `churn ${churn}`)
})

test('the churn of a refresh with a new head stays within the budget, at the cut; asking again is answered the same', async (t) => {
  const churnBudget = 0.05
  const it = await TestProject.open(t, {
    changes: {
      guard: { mode: 'enforce', minEvents: 100_000 },
      training: { learningRate: 0.3 },
      semanticIds: { churnBudget, levels: [3, 3] },
    },
  })
  await withRounds(it, 2)
  const done = await it.daemon.refresh('now')
  deepStrictEqual([done.outcome, done.version], ['live', 2])
  strictEqual((await it.record(2))!.trainedUntil, startTs + 2 * hourMs)
  const churn = await measuredChurn(it, 1, 2, known)
  ok(churn <= churnBudget, `churn ${churn}`)
  const { policy } = (await it.record(2))!.metrics as { policy: { churn: { full: number }; curve: { churn: number; within: boolean }[] } }
  strictEqual(policy.churn.full, churn, 'what the manifest says is what readers see')
  ok(policy.curve[0]!.churn > churnBudget && !policy.curve[0]!.within, `without a budget ${policy.curve[0]!.churn} would have changed`)
  // Too few items and events to judge by: every clause says so, and the head passes with a warning.
  const { clauses, warnings } = it.control.all('judged')[0]!.body.report as { clauses: { verdict: string }[]; warnings: string[] }
  ok(clauses.every(({ verdict }) => verdict === 'insufficient' || verdict === 'reported') && warnings.length > 0)
  deepStrictEqual(await it.daemon.refresh('now'), done)
  strictEqual(it.control.all('build').length, 2)
})

test('a refresh that breaks the distortion ceiling is refused; its number is no version, and the next one follows', async (t) => {
  const it = await TestProject.open(t, { changes: { ...onDisk, semanticIds: { churnBudget: 0, distortionCeiling: 1 } } })
  await it.bootstrap()
  await it.feed(items(60, startTs + hourMs, wantedItems))
  await it.advance(startTs + 2 * hourMs)
  const done = await it.daemon.refresh('now')
  deepStrictEqual([done.outcome, done.code], ['refused', 'SIDESTREAM_BUDGET_REFUSED'])
  ok(/churn budget of 0 .* ceiling of 1/.test(done.message), done.message)
  deepStrictEqual(it.control.find('done', 'now')!.body, done)
  const { curve, ceiling } = done.details as {
    curve: { delta: number | null; churn: number; fvu: number; within: boolean }[]
    ceiling: number
  }
  ok(ceiling === 1 && curve.length > 1 && curve.at(-1)!.within && !curve[0]!.within, JSON.stringify(curve))
  const { refused } = await it.daemon.status()
  deepStrictEqual([refused!.id, refused!.code, refused!.details], ['now', done.code, done.details])
  strictEqual(await it.live(), 1)
  strictEqual(await it.record(2), undefined)
  await it.feed(contentOf('new', startTs + 3 * hourMs))
  ok(await it.readOne('new'), 'version 1 goes on')
  await it.stop()
  await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, distortionCeiling: 100 } }) })
  const next = await it.daemon.refresh('again')
  deepStrictEqual([next.outcome, next.version], ['live', 3])
  strictEqual((await it.record(3))!.parent, 1)
  strictEqual((await it.daemon.status()).refused, null)
  strictEqual(await measuredChurn(it, 1, 3, itemIds(wantedItems + 60)), 0, 'no ID may change with a budget of 0')
})

test('bounds per level and on traffic are kept; curve, churn and distortion stand in the record of the version', async (t) => {
  const bounds = { churnBudget: 1, churnBudgetLevels: [null, 0.2], churnBudgetTraffic: 0.3 }
  const it = await TestProject.open(t, { changes: { semanticIds: { ...bounds, levels: [3, 3] }, training: { learningRate: 0.3 } } })
  await withRounds(it, 2)
  strictEqual((await it.daemon.refresh('now')).outcome, 'live')
  const [old, next] = [await it.read(known, { version: 1 }), await it.read(known, { version: 2 })]
  const moved = known.filter((_, i) => old[i]!.sid[1] !== next[i]!.sid[1])
  const { policy } = (await it.record(2))!.metrics as {
    policy: {
      rebase: boolean
      budget: object
      fvu: number
      freeFvu: number
      churn: { perLevel: number[]; trafficWeighted: number }
      curve: { churn: number; fvu: number; within: boolean; trafficWeighted: number }[]
    }
  }
  deepStrictEqual([policy.rebase, policy.budget], [false, { full: 1, perLevel: [null, 0.2], trafficWeighted: 0.3 }])
  strictEqual(policy.churn.perLevel[1], moved.length / known.length, 'what the record says is what readers see')
  ok(policy.churn.perLevel[1]! <= 0.2 && policy.churn.trafficWeighted <= 0.3, JSON.stringify(policy.churn))
  ok(
    policy.curve.some((point) => point.trafficWeighted !== point.churn),
    'items weigh by what users did with them',
  )
  ok(policy.curve.length > 1 && !policy.curve[0]!.within, 'the bounds were what held it')
  const allowed = policy.curve.filter(({ within }) => within)
  strictEqual(policy.fvu.toFixed(6), Math.min(...allowed.map(({ fvu }) => fvu)).toFixed(6))
})

test('bounds on first codes and prefixes are kept, as readers see them', async (t) => {
  const bounds = { churnBudget: 1, churnBudgetFirstCode: 0.05, churnBudgetPrefixes: [null, 0.2] }
  const it = await TestProject.open(t, { changes: { semanticIds: { ...bounds, levels: [3, 3] }, training: { learningRate: 1 } } })
  await withRounds(it, 2)
  strictEqual((await it.daemon.refresh('now')).outcome, 'live')
  const [old, next] = [await it.read(known, { version: 1 }), await it.read(known, { version: 2 })]
  const moved = (length: number): number =>
    known.filter((_, i) => old[i]!.sid.slice(0, length).join() !== next[i]!.sid.slice(0, length).join()).length / known.length
  const { policy } = (await it.record(2))!.metrics as {
    policy: { budget: object; curve: { firstCode: number; prefix: number[]; within: boolean }[] }
  }
  deepStrictEqual(policy.budget, { full: 1, firstCode: 0.05, prefix: [null, 0.2] })
  ok(moved(1) <= 0.05 && moved(2) <= 0.2, `${moved(1)} of the first codes changed, ${moved(2)} of the first two`)
  const free = policy.curve[0]!
  ok(free.firstCode > 0.05 && free.prefix[1]! > 0.2 && !free.within, `without bounds ${free.firstCode} and ${free.prefix[1]} had changed`)
})

test('another ID space in the configuration declares a re-base: new levels, said so, and refreshed in its space from then on', async (t) => {
  const it = await TestProject.open(t, { changes: { ...onDisk } })
  await it.bootstrap()
  await it.feed(items(10, startTs + hourMs, wantedItems))
  await it.advance(startTs + 2 * hourMs)
  await it.stop()
  const second = { idSpace: 'second', levels: [6, 5, 4], relabel: 'first' } as const
  await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...second, churnBudget: 0 } }) })
  const policyOf = async (version: number) => (await it.record(version))!.metrics['policy'] as Record<string, unknown>
  deepStrictEqual([(await it.daemon.refresh('rebase')).version, await it.live()], [2, 2])
  const { kind, rebase, idSpace, idSpaceBefore, relabel } = await policyOf(2)
  deepStrictEqual([kind, rebase, idSpace, idSpaceBefore], ['re-base', true, 'second', 'codebooks/v1'])
  ok(/whole ID/.test((relabel as { limit: string }).limit))
  deepStrictEqual([...new Set((await it.read(known)).map((feature) => feature!.sid.length))], [3])
  strictEqual((await it.daemon.refresh('again')).version, 3)
  deepStrictEqual([(await policyOf(3))['kind'], await measuredChurn(it, 2, 3, known)], ['refresh', 0])
})
