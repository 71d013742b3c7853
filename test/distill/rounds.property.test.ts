/** The promise of design section 6: with late = 0, rounds are equal whatever the partitions and the arrival order. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { applyInteractions, LaneWatermark, prepareRound, RoundClock, sampleKey } from '../../distill/index.ts'
import type { PreparedRound, RoundRow } from '../../distill/index.ts'
import type { Interaction } from '../../schemas/index.ts'
import { likes, SequenceState } from './sequence-state.ts'

const roundMs = 100
const latenessMs = 30

/** Interactions in the order they are sent: by event time, up to the allowed lateness late. */
const stream: fc.Arbitrary<Interaction[]> = fc
  .array(
    fc.record({
      user: fc.nat({ max: 7 }),
      item: fc.nat({ max: 9 }),
      eventTs: fc.nat({ max: 900 }),
      late: fc.nat({ max: latenessMs }),
    }),
    { maxLength: 80 },
  )
  .map((acts) =>
    acts
      .toSorted((a, b) => a.eventTs + a.late - (b.eventTs + b.late))
      .map(({ user, item, eventTs }) => ({ userId: `u${user}`, itemId: `i${item}`, eventTs, behaviors: ['like'] })),
  )

/** When each item's content is known: some only rounds after their first like. */
const known = (itemId: string, endTs: number): boolean => Number(itemId.slice(1)) * 60 < endTs

interface Setup {
  readonly partitions: number
  /** Which partition sends next, over and over. */
  readonly turns: readonly number[]
  readonly batchRows: number
  /** Whether the clock is put through its snapshot at every step. */
  readonly restart: boolean
}

function trainedRounds(interactions: readonly Interaction[], { partitions, turns, batchRows, restart }: Setup): PreparedRound[] {
  const queues = Array.from({ length: partitions }, (_, p) =>
    interactions.filter(({ userId }) => Number(userId.slice(1)) % partitions === p),
  )
  const lanes = queues.map(() => ({ state: new SequenceState(), watermark: new LaneWatermark(latenessMs), next: 0 }))
  let clock = new RoundClock(
    queues.map((_, p) => `interactions/${p}`),
    roundMs,
  )
  const rows = new Map<number, RoundRow[]>()
  const put = (round: number, ...more: readonly RoundRow[]): unknown => rows.set(round, [...(rows.get(round) ?? []), ...more])
  const rounds: PreparedRound[] = []
  const train = (): void => {
    for (let round = clock.ready(); round !== undefined; round = clock.ready()) {
      const endTs = clock.endOf(round)
      const prepared = prepareRound(rows.get(round) ?? [], { round, seed: 7, isKnown: (itemId) => known(itemId, endTs) })
      clock.close(round)
      for (const _ of prepared.waiting) clock.wait(round + 1)
      put(round + 1, ...prepared.waiting)
      rounds.push(prepared)
    }
  }
  for (let turn = 0; lanes.some(({ next }, p) => next < queues[p]!.length); turn++) {
    const p = turns[turn % turns.length]! % partitions
    // Every lane gets a turn now and then, whatever the drawn order.
    const lane = turn % 5 === 4 ? Math.floor(turn / 5) % partitions : p
    const { state, watermark, next } = lanes[lane]!
    const values = queues[lane]!.slice(next, next + batchRows)
    if (values.length === 0) continue
    const source = `interactions/${lane}`
    const batch = { source, next: BigInt(next + values.length), rows: values.map((value, i) => ({ offset: BigInt(next + i), value })) }
    const { samples, commit } = applyInteractions(batch, state, { positiveBehaviors: likes })
    state.commit(commit)
    lanes[lane]!.next += values.length
    for (const sample of samples) put(clock.join(sample.eventTs).round, { key: sampleKey(sample), sample, waited: false })
    for (const { eventTs } of values) watermark.observe(eventTs)
    clock.apply({ kind: 'watermark', source, watermarkTs: watermark.value })
    if (restart) clock = RoundClock.restore(JSON.parse(JSON.stringify(clock.snapshot())) as ReturnType<RoundClock['snapshot']>)
    train()
  }
  for (const source of queues.keys()) clock.apply({ kind: 'watermark', source: `interactions/${source}`, watermarkTs: Infinity })
  train()
  strictEqual(clock.late, 0)
  return rounds
}

const turns = fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 12 })

test('one partition and three, in any interleaving and batching, train the same rows in the same order', () => {
  let trained = 0
  fc.assert(
    fc.property(stream, turns, fc.integer({ min: 1, max: 9 }), (interactions, order, batchRows) => {
      const one = trainedRounds(interactions, { partitions: 1, turns: [0], batchRows: 4, restart: false })
      const three = trainedRounds(interactions, { partitions: 3, turns: order, batchRows, restart: true })
      deepStrictEqual(three, one)
      trained += one.reduce((sum, { rows }) => sum + rows.length, 0)
    }),
  )
  ok(trained > 0, 'no row was ever trained')
})
