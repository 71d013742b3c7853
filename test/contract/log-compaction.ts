/**
 * The log's contract for what is removed: compaction keeps the last record per key where it stood, and a log that begins
 * later than a reader thought says so. Drivers compact when they can, so every case asks until it sees the outcome.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'

import type { LogBatch, LogDriver, LogRecord, ProducerRecord } from '../../connectors/index.ts'
import { behavior, gate, numbered, record, start, text, until, values } from './log-fixture.ts'
import type { Bench, LogContractDriver } from './log-fixture.ts'

export function compactionContract(under: LogContractDriver): void {
  compaction(under)
  restores(under)
  gaps(under)
}

/** Compaction takes brokers several seconds. */
const slow = { timeoutMs: 90_000 }

/** What a topic of one partition holds, without the ticks of the driver. */
async function contents(driver: LogDriver, topic: string): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  await driver.read(topic, ({ records }) => void found.push(...records.filter(({ key }) => text(key) !== 'tick')))
  return found
}

async function compacted({ fixture, name }: Bench): Promise<string> {
  const topic = name('changelog')
  await fixture.createCompacted(topic, 1)
  return topic
}

/** Has the topic compacted until its contents are as wanted. */
async function compactUntil(
  { fixture, driver }: Bench,
  topic: string,
  what: string,
  wanted: (records: LogRecord[]) => boolean,
): Promise<LogRecord[]> {
  let found: LogRecord[] = []
  const condition = async (): Promise<boolean> => {
    await fixture.compactNow(topic)
    found = await contents(driver, topic)
    return wanted(found)
  }
  await until(what, condition, 60_000)
  return found
}

const hasOnePerKey = (records: readonly LogRecord[]): boolean => new Set(records.map(({ key }) => text(key))).size === records.length
const hasNoTombstone = (records: readonly LogRecord[]): boolean => records.every(({ value }) => value !== null)

/** `count` records over `keys` keys; their offsets are their numbers. */
function rewritten(count: number, keys: number): ProducerRecord[] {
  return Array.from({ length: count }, (_, i) => record(`k${i % keys}`, `${i}`))
}

function compaction(under: LogContractDriver): void {
  behavior(
    under,
    'compaction keeps the last record per key at its offset, and drops tombstones in the end',
    async (bench) => {
      const topic = await compacted(bench)
      const headers = [['trace', Buffer.from('1')]] as const
      for (let from = 0; from < 200; from += 20) await bench.send(topic, 0, ...rewritten(200, 10).slice(from, from + 20))
      await bench.send(topic, 0, record('k3', null), { ...record('k4', 'last'), headers, timestamp: 1_500_000_000_000 }, record('k5', null))
      const found = await compactUntil(bench, topic, 'the last records', (records) => hasOnePerKey(records) && hasNoTombstone(records))
      deepStrictEqual(
        found.map(({ key, value, offset }) => [text(key), text(value), offset]),
        [...[0, 1, 2, 6, 7, 8, 9].map((k) => [`k${k}`, `${190 + k}`, BigInt(190 + k)]), ['k4', 'last', 201n]],
      )
      const last = found.at(-1)!
      deepStrictEqual([last.timestamp, last.headers.map(([name, value]) => [name, text(value)])], [1_500_000_000_000, [['trace', '1']]])
      const { start: begin, end } = await (await bench.driver.admin()).describe(topic)
      ok(begin[0]! <= 190n && end[0]! >= 203n)
      const [next] = [...(await bench.send(topic, 0, record('k3', 'again'))).values()]
      strictEqual(next, end[0])
    },
    slow,
  )

  behavior(
    under,
    'readers cross holes: positions, commits and lag go on, and no gap is told',
    async (bench) => {
      const { driver } = bench
      const topic = await compacted(bench)
      await bench.send(topic, 0, ...rewritten(100, 4), record('once', 'o'), ...rewritten(100, 4), record('k0', 'end'), record('gone', null))
      const found = await compactUntil(bench, topic, 'holes', (records) => hasOnePerKey(records) && hasNoTombstone(records))
      deepStrictEqual(
        found.map(({ offset }) => offset),
        [100n, 198n, 199n, 200n, 201n],
      )
      const end = (await (await driver.admin()).describe(topic)).end[0]!
      const group = bench.name('g')
      for (const from of [0n, 1n, 57n, 100n, 101n, 150n, 199n, 202n]) {
        const batches: LogBatch[] = []
        const gaps: bigint[] = []
        const consumer = await start(
          driver,
          { group, topics: [topic], batchRecords: 2 },
          {
            onAssigned: async () => from,
            onBatch: async (batch, lane) => {
              batches.push(batch)
              strictEqual(await lane.commit(batch.next), 'ok')
            },
            onGap: (_lane, expected) => void gaps.push(expected),
          },
        )
        await until('the end', () => batches.at(-1)?.next === end)
        await until('no lag', async () => (await consumer.lag()).get(`${topic}/0`) === 0n)
        await consumer.stop({ drainMs: 1000 })
        const kept = found.filter(({ offset }) => offset >= from)
        const seen = batches.flatMap(({ records }) => records).filter(({ key }) => text(key) !== 'tick')
        deepStrictEqual(values(seen), values(kept))
        deepStrictEqual(gaps, [])
        for (const [i, { first, next, records }] of batches.entries()) {
          ok(first >= (batches[i - 1]?.next ?? from) && next >= first)
          strictEqual(first, records[0]?.offset ?? first)
          ok(records.every(({ offset }) => offset < next))
        }
        deepStrictEqual(await (await driver.admin()).committed(group, topic), [end])
      }
      for (const upTo of [50n, 100n, 101n, 199n]) {
        const below: LogRecord[] = []
        const reached = await driver.read(topic, ({ records }) => void below.push(...records), { upTo: [upTo] })
        deepStrictEqual([reached, values(below)], [[upTo], values(found.filter(({ offset }) => offset < upTo))])
      }
    },
    slow,
  )

  behavior(
    under,
    'a reader under way while its log is compacted still sees the last record of every key',
    async (bench) => {
      const topic = await compacted(bench)
      await bench.send(topic, 0, ...rewritten(150, 5))
      const [entered, release] = [gate(), gate()]
      const state = new Map<string | null, string | null>()
      let next = 0n
      const consumer = await start(
        bench.driver,
        { group: bench.name('g'), topics: [topic], batchRecords: 20 },
        {
          onBatch: async (batch) => {
            entered.open()
            await release.opened
            ok(batch.first >= next)
            for (const { key, value } of batch.records) if (text(key) !== 'tick') state.set(text(key), text(value))
            next = batch.next
          },
        },
      )
      await entered.opened
      await bench.send(topic, 0, record('k1', 'late'), record('k2', null))
      await compactUntil(bench, topic, 'the compaction', hasOnePerKey)
      release.open()
      await until('the last record', () => state.get('k1') === 'late' && next >= 152n)
      await consumer.stop({ drainMs: 1000 })
      const seen = Object.fromEntries(state)
      ok(seen['k2'] === null || seen['k2'] === '147') // the tombstone may have served its time
      delete seen['k2']
      deepStrictEqual(seen, { k0: '145', k1: 'late', k3: '148', k4: '149' })
    },
    slow,
  )
}

/** A keyed state beside its changelog, changed by a fixed sequence. */
class Live {
  readonly state = new Map<string, string>()
  readonly #topic: string
  readonly #bench: Bench
  #step = 0

  constructor(bench: Bench, topic: string) {
    this.#bench = bench
    this.#topic = topic
  }

  /** Changes some keys; every fifth change deletes. */
  async change(count: number): Promise<void> {
    const records = Array.from({ length: count }, () => {
      const i = this.#step++
      const key = `user${(i * 7) % 23}`
      const value = i % 5 === 4 ? null : `${i}`
      if (value === null) this.state.delete(key)
      else this.state.set(key, value)
      return record(key, value)
    })
    await this.#bench.send(this.#topic, 0, ...records)
  }
}

/** The state that the changelog gives, up to the end it has at the call. */
async function restored(driver: LogDriver, topic: string): Promise<Record<string, string>> {
  const state = new Map<string, string>()
  for (const { key, value } of await contents(driver, topic)) {
    if (value === null) state.delete(text(key)!)
    else state.set(text(key)!, text(value)!)
  }
  return Object.fromEntries([...state].sort())
}

const sorted = (state: ReadonlyMap<string, string>): Record<string, string> => Object.fromEntries([...state].sort())

function restores(under: LogContractDriver): void {
  behavior(
    under,
    'a state restored from a compacted changelog equals the live one, before, between and after compactions',
    async (bench) => {
      const topic = await compacted(bench)
      const live = new Live(bench, topic)
      for (let round = 0; round < 4; round++) {
        await live.change(37)
        deepStrictEqual(await restored(bench.driver, topic), sorted(live.state))
        await bench.fixture.compactNow(topic)
        deepStrictEqual(await restored(bench.driver, topic), sorted(live.state))
      }
      await compactUntil(bench, topic, 'the compaction', hasOnePerKey)
      deepStrictEqual(await restored(bench.driver, topic), sorted(live.state))
    },
    slow,
  )

  behavior(
    under,
    'a changelog can be restored while it is written and compacted',
    async (bench) => {
      const topic = await compacted(bench)
      const live = new Live(bench, topic)
      await live.change(200)
      let [writing, written] = [true, 0]
      const writer = (async () => {
        for (; writing; written++) await live.change(9)
      })()
      for (let round = 0; round < 5; round++) {
        const before = written
        await bench.fixture.compactNow(topic)
        const state = await restored(bench.driver, topic)
        ok(Object.keys(state).length > 0 && Object.keys(state).length <= 23)
        await until('the writer to go on', () => written > before)
      }
      writing = false
      await writer
      await bench.fixture.compactNow(topic)
      deepStrictEqual(await restored(bench.driver, topic), sorted(live.state))
    },
    slow,
  )

  behavior(
    under,
    'a compacted log survives a restart',
    async (bench) => {
      const topic = await compacted(bench)
      const live = new Live(bench, topic)
      await live.change(150)
      await compactUntil(bench, topic, 'the compaction', hasOnePerKey)
      const before = await (await bench.driver.admin()).describe(topic)
      const again = await bench.fixture.reopen()
      deepStrictEqual(await (await again.admin()).describe(topic), before)
      deepStrictEqual(await restored(again, topic), sorted(live.state))
      deepStrictEqual((await (await again.producer()).send(topic, 0, [record('new', 'v')])).get(0), before.end[0])
    },
    { ...slow, reopens: true },
  )
}

function gaps(under: LogContractDriver): void {
  behavior(under, 'a commit or a sink below the start of the log goes on at the start, and the gap is told', async (bench) => {
    const { driver } = bench
    const orders = await bench.topic(1)
    const group = bench.name('g')
    await bench.send(orders, 0, ...numbered(10, 'old'))
    const first = gate()
    const consumer = await start(
      driver,
      { group, topics: [orders], batchRecords: 4 },
      {
        onBatch: async (batch, lane) => {
          lane.pause()
          await lane.commit(batch.next)
          first.open()
        },
      },
    )
    await first.opened
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(await (await driver.admin()).committed(group, orders), [4n])
    await bench.fixture.expire(orders)
    deepStrictEqual(await (await driver.admin()).describe(orders), { name: orders, partitions: 1, start: [10n], end: [10n] })
    await bench.send(orders, 0, ...numbered(3, 'new'))
    const cases: { readonly group: string; readonly answer: bigint | undefined; readonly gap: [bigint, bigint][] }[] = [
      { group, answer: undefined, gap: [[4n, 10n]] },
      { group, answer: 6n, gap: [[6n, 10n]] },
      { group, answer: 0n, gap: [] },
      { group, answer: 10n, gap: [] },
      { group: bench.name('fresh'), answer: undefined, gap: [] },
    ]
    for (const { group: asking, answer, gap } of cases) {
      const gaps: [bigint, bigint][] = []
      const seen: (string | null)[] = []
      const reader = await start(
        driver,
        { group: asking, topics: [orders] },
        {
          onAssigned: async () => answer,
          onBatch: async (batch, lane) => {
            deepStrictEqual(gaps, gap, 'the gap is told before the batch')
            seen.push(...values(batch.records))
            if (asking === group) strictEqual(await lane.commit(4n), 'ok')
            lane.pause()
          },
          onGap: (lane, expected, begin) => {
            strictEqual(lane.topic, orders)
            gaps.push([expected, begin])
          },
        },
      )
      await until('the new records', () => seen.length === 3)
      await reader.stop({ drainMs: 1000 })
      deepStrictEqual([seen, gaps], [['new0', 'new1', 'new2'], gap])
    }
  })

  behavior(under, 'a sink below a log in which nothing is left is brought to its end', async (bench) => {
    const orders = await bench.topic(1)
    await bench.send(orders, 0, ...numbered(10))
    await bench.fixture.expire(orders)
    let position = 3n
    const told: bigint[] = []
    const consumer = await start(
      bench.driver,
      { group: bench.name('g'), topics: [orders] },
      {
        onAssigned: async () => position,
        onBatch: async (batch) => {
          strictEqual(batch.records.length, 0)
          position = batch.next
        },
        onGap: (_lane, expected, begin) => void told.push(expected, begin),
      },
    )
    await until('the end', () => position === 10n)
    deepStrictEqual(await consumer.lag(), new Map([[`${orders}/0`, 0n]]))
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(told, [3n, 10n])
  })
}
