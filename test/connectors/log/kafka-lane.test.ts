/** A lane without a broker: what it holds, when it asks for more, and what it does with fetches it did not ask for. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import type { Batch } from 'kafkajs'

import { kafkaLogDefaults } from '../../../connectors/index.ts'
import type { LogBatch } from '../../../connectors/index.ts'
import { OldRecord } from '../../../connectors/log/kafka-fetched-records.ts'
import { KafkaLane } from '../../../connectors/log/kafka-lane.ts'
import { gate, until } from '../../contract/log-fixture.ts'

const recordBytes = 1000

/** A fetch of dense records; `next` is past control records behind them. */
function fetched(first: number, count: number, { asked = first, next = first + count, end = 1_000_000 } = {}): Batch {
  const messages = Array.from({ length: count }, (_, i) => {
    const value = Buffer.alloc(recordBytes)
    return new OldRecord({ key: null, value, headers: {}, timestamp: '0', attributes: 0, offset: `${first + i}` })
  })
  const offset = `${next - 1}`
  return {
    topic: 't',
    partition: 0,
    messages,
    fetchedOffset: `${asked}`,
    highWatermark: `${end}`,
    lastOffset: () => offset,
  } as unknown as Batch
}

function laneOf(onBatch: (batch: LogBatch) => Promise<void>, limits = { records: 10, bytes: 30_000 }) {
  const flow: string[] = []
  const seeks: bigint[] = []
  const strays: bigint[] = []
  const gaps: [bigint, bigint][] = []
  const failures: Error[] = []
  const lane = new KafkaLane({
    settings: { ...kafkaLogDefaults, brokers: [], wait: () => new Promise(setImmediate) },
    name: 't',
    topic: 't',
    partition: 0,
    epoch: 1,
    group: 'g',
    commits: 'consumer',
    limits,
    commit: async () => 'ok',
    onFlow: (_lane, which) => void flow.push(which),
    onSeek: (_lane, offset) => void seeks.push(offset),
    onStray: (_lane, expected) => void strays.push(expected),
    onFailure: (error) => void failures.push(error),
  })
  const handlers = {
    onBatch,
    onFatal: () => {},
    onGap: (_lane: unknown, expected: bigint, first: bigint) => void gaps.push([expected, first]),
  }
  return { lane, handlers, flow, seeks, strays, gaps, failures }
}

test('fetching pauses above laneBytes and goes on below a third; what is held stays bounded', async () => {
  const [release, entered] = [gate(), gate()]
  const held: number[] = []
  const { lane, handlers, flow } = laneOf(async () => {
    held.push(lane.heldBytes)
    entered.open()
    await release.opened
  })
  lane.start(0n, handlers)
  deepStrictEqual(flow, ['resume'])
  let at = 0
  ok(lane.push(fetched(at, 5)))
  await entered.opened
  at += 5
  for (; flow.at(-1) === 'resume'; at += 5) ok(lane.push(fetched(at, 5)))
  strictEqual(lane.heldBytes, 35_000) // one fetch above the bound
  release.open()
  await until('everything', () => lane.heldBytes === 0)
  deepStrictEqual(flow, ['resume', 'pause', 'resume'])
  deepStrictEqual(held, [0, 25_000, 15_000, 5000, 0]) // batches of ten; it goes on below 10,000
  await lane.drain()
})

test('a batch is made of several fetches, and its next is past the control records behind them', async () => {
  const batches: [bigint, bigint, number][] = []
  const first = gate()
  const { lane, handlers } = laneOf(async ({ first: from, next, records }) => {
    batches.push([from, next, records.length])
    await first.opened
  })
  lane.start(0n, handlers)
  lane.push(fetched(0, 1))
  await until('the first', () => batches.length === 1)
  lane.push(fetched(1, 3))
  lane.push(fetched(4, 2, { next: 9 }))
  lane.pass(12n, 100n)
  lane.push(fetched(12, 2))
  first.open()
  await until('the rest', () => batches.length === 2)
  deepStrictEqual(batches, [
    [0n, 1n, 1],
    [1n, 14n, 7],
  ])
  lane.pass(20n, 100n)
  await until('an empty one', () => batches.length === 3)
  deepStrictEqual(batches[2], [14n, 20n, 0])
  await lane.drain()
})

test('a fetch that was not asked for is not taken: it is looked into, and a gap is told where it is', async () => {
  const seen: bigint[] = []
  const { lane, handlers, strays, gaps, seeks, flow } = laneOf(
    async ({ records }) => void seen.push(...records.map(({ offset }) => offset)),
  )
  lane.start(5n, handlers)
  ok(lane.push(fetched(5, 2)))
  strictEqual(lane.push(fetched(40, 2)), false)
  strictEqual(lane.push(fetched(42, 2)), false)
  deepStrictEqual([strays, flow.at(-1)], [[7n], 'pause'])
  lane.skip({ expected: 7n, first: 40n, end: 44n })
  deepStrictEqual([seeks.at(-1), flow.at(-1)], [40n, 'resume'])
  ok(lane.push(fetched(40, 2)))
  await until('the records', () => seen.length === 4)
  deepStrictEqual([seen, gaps], [[5n, 6n, 40n, 41n], [[7n, 40n]]])
  strictEqual(lane.push(fetched(30, 2)), false)
  lane.refetch()
  strictEqual(seeks.at(-1), 42n)
  ok(lane.push(fetched(42, 1)))
  await until('the last', () => seen.length === 5)
  await lane.drain()
})

test('a seek drops what waits, and what was fetched before it is not taken', async () => {
  const seen: bigint[] = []
  const { lane, handlers, seeks, strays } = laneOf(async ({ records }) => {
    seen.push(...records.map(({ offset }) => offset))
    if (seen.length === 10) lane.seek(3n)
  })
  lane.start(0n, handlers)
  lane.push(fetched(0, 25))
  await until('the seek', () => seeks.at(-1) === 3n)
  strictEqual(lane.push(fetched(25, 5)), false)
  deepStrictEqual(strays, [3n])
  lane.refetch()
  lane.push(fetched(3, 2))
  await until('the rest', () => seen.length === 12)
  deepStrictEqual(seen, [...Array.from({ length: 10 }, (_, i) => BigInt(i)), 3n, 4n])
  strictEqual(lane.uncommitted, 5n)
  await lane.drain()
})
