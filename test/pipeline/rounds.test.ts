/** Rounds of the running project: what closes them, what is counted, what training leaves. */
import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { clickOf, clicks, contentOf, hourMs, itemIds, latenessMs, onDisk, startTs, TestProject, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)
const roundOf = (hour: number): number => startTs / hourMs + hour
const headOf = (hour: number): string => `heads/round-${String(roundOf(hour)).padStart(12, '0')}`

async function round(it: TestProject, hour: number): Promise<void> {
  await it.feed(clicks(48, startTs + hour * hourMs, known))
  await it.advance(startTs + (hour + 1) * hourMs)
}

const trainedHours = (it: TestProject): number[] => it.control.all('trained').map(({ body }) => body.round - roundOf(0))

test('an idle partition is advanced by a logged tick, so that rounds close', async (t) => {
  const it = await TestProject.open(t, { changes: { log: { partitions: 3 }, training: { idleMs: 60_000 } } })
  // One user, so one partition of three; content in one.
  await it.bootstrap()
  await it.feed(...known.slice(0, 12).map((id, i) => clickOf('solo', id, startTs + hourMs + i * 60_000)))
  await it.feed(clickOf('solo', 'item-0', startTs + 3 * hourMs, ['view']))
  strictEqual(await it.live(), null)
  it.now += 59_999
  await it.feed()
  strictEqual(it.control.all('tick').length, 0)
  it.now += 1
  while (it.control.all('trained').length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  await it.daemon.idle()
  strictEqual(await it.live(), 1)
  deepStrictEqual(trainedHours(it), [1])
  const ticks = it.control.all('tick').map(({ body }) => body)
  ok(ticks.every(({ watermarkTs }) => watermarkTs === startTs + 3 * hourMs - latenessMs))
  ok(ticks.some(({ source }) => source.startsWith('item-content/')) && ticks.some(({ source }) => source.startsWith('interactions/')))
})

test('the four filtered sets are trained beside the plain one, and what the filters took is counted', async (t) => {
  const it = await TestProject.open(t, {
    changes: {
      interactions: { positiveBehaviors: ['click', 'like', 'share'], otherBehaviors: ['view'] },
      sequences: { sets: ['plain', 'content-single', 'content-multi', 'collaborative-single', 'collaborative-multi'] },
    },
  })
  await it.bootstrap()
  const acts = [['click'], ['click', 'like', 'share'], ['click', 'like']]
  for (const hour of [1, 2]) {
    const events = clicks(64, startTs + hour * hourMs, known).map(({ record, eventTs }, n) => {
      const { userId, itemId } = record as { userId: string; itemId: string }
      return clickOf(userId, itemId, eventTs, acts[n % 3])
    })
    await it.feed(events)
    await it.advance(startTs + (hour + 1) * hourMs)
  }
  const { rows, replayed, sets } = it.control.all('trained').at(-1)!.body
  ok(sets !== undefined && replayed > 0)
  for (const [set, counts] of Object.entries(sets)) ok(counts['rows']! > 0, set)
  strictEqual(
    Object.values(sets).reduce((sum, counts) => sum + counts['rows']!, 0),
    rows,
  )
  ok(sets['content-single']!['fewKinds']! > 0 && sets['content-single']!['otherContent']! > 0)
  ok(sets['content-multi']!['otherKinds']! > 0)
  const { sets: total } = await it.daemon.status()
  ok(total!['plain']!.rows > sets['plain']!['rows']!)
})

test('late rows are counted and join the next round; duplicates and out-of-order events are counted', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  await round(it, 1)
  const before = (await it.daemon.status()).owner!.late
  strictEqual(before, 0)
  const rows = it.control.all('trained')[0]!.body.rows

  const at = startTs + 1.5 * hourMs
  await it.feed(clickOf('user-0', 'item-3', at), clickOf('user-1', 'item-4', at)) // their round is closed
  strictEqual((await it.daemon.status()).owner!.late, 2)
  const { ingest } = await it.daemon.status()
  ok(ingest!.outOfOrder >= 2, `${ingest!.outOfOrder} out of order`)

  const again = clickOf('user-2', 'item-5', startTs + 2 * hourMs + 5000)
  const seen = ingest!.duplicates
  await it.feed(again)
  await it.feed(again)
  strictEqual((await it.daemon.status()).ingest!.duplicates, seen + 1)

  await it.feed(clicks(40, startTs + 2 * hourMs, known))
  await it.advance(startTs + 3 * hourMs)
  deepStrictEqual(trainedHours(it), [1, 2])
  const second = it.control.all('trained')[1]!.body
  // Every click has a history by now: 40, the one that was told twice, the two late ones, and rows of round 1.
  strictEqual(second.rows - second.replayed, 43)
  ok(rows > 0)
})

async function headParts(it: TestProject, hour: number): Promise<Record<string, string>> {
  const { parts } = await it.project.artifacts.read(headOf(hour))
  return Object.fromEntries([...parts].map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]))
}

test('rounds train in order, a checkpoint each; with restarts between them to equal weights; a divergence is passed over', async (t) => {
  const atOnce = await TestProject.open(t)
  await atOnce.bootstrap()
  await atOnce.feed(...[1, 2].map((hour) => clicks(48, startTs + hour * hourMs, known)))
  await atOnce.advance(startTs + 3 * hourMs)
  deepStrictEqual(trainedHours(atOnce), [1, 2])
  deepStrictEqual(
    atOnce.control.all('cut').map(({ body }) => body.endTs),
    [2, 3].map((hour) => startTs + hour * hourMs),
  )
  deepStrictEqual(await atOnce.project.artifacts.list('heads/round-'), [1, 2].map(headOf))
  const expected = [await headParts(atOnce, 1), await headParts(atOnce, 2)]
  notDeepStrictEqual(expected[1], expected[0])
  ok(Object.keys(expected[0]!).includes('training.tensors'))
  const losses = atOnce.control.all('trained').map(({ body }) => body.losses)
  ok(losses.every((steps) => steps.length > 0 && steps.every(Number.isFinite)))
  await atOnce.stop()

  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  await round(it, 1)
  await it.stop()
  await it.start()
  await round(it, 2)
  deepStrictEqual(
    it.control.all('trained').map(({ body }) => body.losses),
    losses,
  )
  deepStrictEqual([await headParts(it, 1), await headParts(it, 2)], expected)
  await it.stop()

  await it.start({ adjust: (config) => ({ ...config, training: { ...config.training, learningRate: 1e30, warmupSteps: 0 } }) })
  await round(it, 3)
  const bad = it.control.all('trained').at(-1)!.body
  strictEqual(bad.round, roundOf(3))
  ok(/diverged/.test(bad.diverged ?? ''), `${bad.diverged}`)
  deepStrictEqual(await it.project.artifacts.list('heads/round-'), [1, 2].map(headOf))
  deepStrictEqual(await headParts(it, 2), expected[1])
  await it.feed(contentOf('new', startTs + 4 * hourMs))
  ok(await it.readOne('new'), 'the hot path goes on')
  await it.stop()

  await it.start()
  await round(it, 4)
  deepStrictEqual(await it.project.artifacts.list('heads/round-'), [1, 2, 4].map(headOf))
  ok(it.control.all('trained').at(-1)!.body.losses.every(Number.isFinite))
})

test('a round of one user has nothing to tell apart: it is counted, and leaves the head as it was', async (t) => {
  const it = await TestProject.open(t, { changes: { training: { replayShare: 0 } } })
  await it.bootstrap()
  await round(it, 1)
  await it.feed(known.slice(0, 10).map((id, i) => clickOf('solo', id, startTs + 2 * hourMs + i * 60_000)))
  await it.advance(startTs + 3 * hourMs)
  const [first, second] = it.control.all('trained').map(({ body }) => body)
  strictEqual(first!.sources!['seq2item']!['withoutNegatives'], 0)
  deepStrictEqual([second!.rows, second!.sources!['seq2item']!['withoutNegatives']], [9, 9])
  strictEqual((await it.daemon.status()).training!.sources['seq2item']!.withoutNegatives, 9)
  const weights = async (hour: number) => (await headParts(it, hour))['head.tensors']
  ok((await weights(1)) !== undefined)
  strictEqual(await weights(2), await weights(1))
})

test('a round of one step that leaves weights without finite numbers gives no checkpoint', async (t) => {
  const it = await TestProject.open(t, {
    changes: { training: { replayShare: 0 } },
    adjust: (config) => ({ ...config, training: { ...config.training, learningRate: 1e39, warmupSteps: 0 } }),
  })
  await it.bootstrap()
  await it.feed(clicks(16, startTs + hourMs, known))
  await it.advance(startTs + 2 * hourMs)
  const { rows, diverged } = it.control.all('trained')[0]!.body
  ok(rows > 1 && rows <= 16, `${rows} rows`)
  ok(diverged !== null, 'weights that are not finite were kept')
  deepStrictEqual(await it.project.artifacts.list('heads/round-'), [])
})
