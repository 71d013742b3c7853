/** What the daemon watches of its semantic IDs while items come: it proposes a refresh, and starts none. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { syncBuiltinESMExports } from 'node:module'
import { test } from 'node:test'
import threads from 'node:worker_threads'
import type { SourceEvent } from '../../schemas/index.ts'
import { clicks, contentOf, hourMs, itemIds, items, onDisk, startTs, TestProject, tombstoneOf, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)
const watch = { minItems: 5, headShare: 0.9, errorRatio: null, capacity: 3, occupancyRise: 0.2 }

/** Items that all show the same. */
function copies(count: number, fromTs: number): SourceEvent[] {
  return Array.from({ length: count }, (_, i) => {
    const original = contentOf('item-0', fromTs + i * 1000)
    const itemId = `copy-${i}`
    return { ...original, itemId, record: { ...original.record, itemId } } as SourceEvent
  })
}

/** A project with version 1, and one round of clicks beside what comes. */
async function roundWith(it: TestProject, round: number, events: readonly SourceEvent[]): Promise<void> {
  await it.feed(events)
  await it.feed(clicks(48, startTs + round * hourMs, known))
  await it.advance(startTs + (round + 1) * hourMs)
}

const driftOf = async (it: TestProject) => (await it.daemon.status()).drift

test('new items like the old ones propose nothing; a flood of the same does, once, in status and log, and builds nothing', async (t) => {
  const warnings: string[] = []
  const it = await TestProject.open(t, {
    changes: { refresh: { watch } },
    wrap: (project) => ({
      ...project,
      logger: { ...project.logger, info: () => {}, error: () => {}, warn: (_: object, text: string) => void warnings.push(text) } as never,
    }),
  })
  await it.bootstrap()
  strictEqual(await driftOf(it), null, 'nothing is said before a round has ended')
  await roundWith(it, 1, items(6, startTs + hourMs, wantedItems))
  const calm = (await driftOf(it))!
  deepStrictEqual([calm.version, calm.untilTs, calm.reasons], [1, startTs + 2 * hourMs, []])
  deepStrictEqual([calm.figures.items, calm.figures.newItems], [wantedItems + 6, 6])
  ok(calm.figures.newError! > 0 && calm.figures.fittedError! > 0, 'errors are measured')

  await roundWith(it, 2, copies(80, startTs + 2 * hourMs))
  const alarmed = (await driftOf(it))!
  deepStrictEqual(alarmed.figures.newItems, 86)
  ok(alarmed.figures.headShare! > 0.9 && alarmed.figures.occupancy - alarmed.figures.fittedOccupancy > 0.2)
  deepStrictEqual(
    alarmed.reasons.map((reason) => /headShare|occupancyRise/.exec(reason)![0]),
    ['headShare', 'occupancyRise'],
  )
  await roundWith(it, 3, [])
  const proposals = warnings.filter((text) => text.includes('a refresh is proposed'))
  strictEqual(proposals.length, 1, 'said once')
  deepStrictEqual([it.control.all('build').length, await it.live()], [1, 1], 'it proposes, and starts nothing')

  await roundWith(
    it,
    4,
    Array.from({ length: 80 }, (_, i) => tombstoneOf(`copy-${i}`, startTs + 4 * hourMs + i)),
  )
  const after = (await driftOf(it))!
  deepStrictEqual([after.figures.items, after.reasons], [wantedItems + 6, []], 'items that are gone count no more')
  await it.daemon.refresh('now')
  await roundWith(it, 5, [])
  const fresh = (await driftOf(it))!
  deepStrictEqual([fresh.version, fresh.figures.newItems, fresh.reasons], [2, 0, []], 'a refresh starts anew')
})

test('the same stream gives the same figures, with a restart in between too; without thresholds nothing is watched', async (t) => {
  const seen: object[] = []
  for (const restarts of [false, true]) {
    const it = await TestProject.open(t, { changes: { ...onDisk, refresh: { watch } } })
    await it.bootstrap()
    await roundWith(it, 1, copies(7, startTs + hourMs))
    if (restarts) {
      await it.stop()
      await it.start()
    }
    await roundWith(it, 2, items(5, startTs + 2 * hourMs, wantedItems))
    seen.push((await driftOf(it))!)
  }
  deepStrictEqual(seen[1], seen[0])
  const off = await TestProject.open(t, { changes: { refresh: { watch: { headShare: null, errorRatio: null, occupancyRise: null } } } })
  await off.bootstrap()
  await roundWith(off, 1, items(6, startTs + hourMs, wantedItems))
  strictEqual(await driftOf(off), null)
})

test('what a version is looked at with is opened once, whatever the rounds, and ends with the daemon', async (t) => {
  const open: string[] = []
  let started: string[] = []
  const { Worker } = threads
  t.after(() => {
    threads.Worker = Worker
    syncBuiltinESMExports()
  })
  threads.Worker = class extends Worker {
    constructor(file: string, options: threads.WorkerOptions) {
      super(file, options)
      const name = options.name!
      open.push(name)
      started.push(name)
      this.once('exit', () => open.splice(open.indexOf(name), 1))
    }
  } as typeof Worker
  syncBuiltinESMExports()
  const it = await TestProject.open(t, { changes: { refresh: { watch } } })
  await it.bootstrap()
  started = []
  for (const round of [1, 2, 3]) {
    await roundWith(it, round, items(4, startTs + round * hourMs, wantedItems + 4 * round))
    strictEqual((await driftOf(it))!.figures.newItems, 4 * round, 'each round has new items to encode')
  }
  deepStrictEqual(
    started.filter((name) => name === 'embedder'),
    ['embedder'],
  )
  await it.daemon.refresh('now')
  await roundWith(it, 4, items(4, startTs + 4 * hourMs, 2 * wantedItems))
  strictEqual(open.filter((name) => name === 'embedder').length, 3, 'of two writers and of what looks at version 2')
  await it.stop()
  deepStrictEqual(open, [])
})
