/**
 * The delivery protocol over any log: a sink that owns its position and an epoch takes every record once, whatever repeats, dies
 * or comes too late. The log's part: it says where lanes begin, repeats what was not taken, and lets no old lane commit.
 */
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'

import { SidestreamError } from '../../schemas/index.ts'
import type { Lane, LogBatch } from '../../connectors/index.ts'
import { behavior, collect, gate, numbered, record, start, text, until, values } from './log-fixture.ts'
import type { LogContractDriver } from './log-fixture.ts'

export function deliveryContract(under: LogContractDriver): void {
  sinks(under)
  deadLetters(under)
  backpressure(under)
}

/** Sums per key with `{ epoch, next }` beside them, changed in one step or not at all. */
class FencedSink {
  #rows: { readonly sums: ReadonlyMap<string, number>; readonly epoch: number; readonly next: bigint } = {
    sums: new Map(),
    epoch: 0,
    next: 0n,
  }
  /** Writes that fail half-way; none of them may be seen. */
  failures = 0

  get sums(): Record<string, number> {
    return Object.fromEntries(this.#rows.sums)
  }

  get next(): bigint {
    return this.#rows.next
  }

  /** Before the first write of an assignment. @returns the epoch that its writes must show */
  claim(): number {
    this.#rows = { ...this.#rows, epoch: this.#rows.epoch + 1 }
    return this.#rows.epoch
  }

  /** @throws SIDESTREAM_EPOCH_FENCED for a claim that is not the newest; SIDESTREAM_STATE_GAP for a batch that leaves something out */
  apply(batch: LogBatch, epoch: number): void {
    const { epoch: current, next } = this.#rows
    if (epoch !== current) throw new SidestreamError('SIDESTREAM_EPOCH_FENCED', `epoch ${epoch} is over: it is ${current}`)
    if (batch.next <= next) return
    if (batch.first > next) throw new SidestreamError('SIDESTREAM_STATE_GAP', `the sink has records up to ${next}, not to ${batch.first}`)
    const sums = new Map(this.#rows.sums)
    for (const { key, value, offset } of batch.records) {
      if (offset < next) continue
      sums.set(text(key)!, (sums.get(text(key)!) ?? 0) + Number(text(value)))
      if (this.failures > 0 && offset === batch.records.at(-1)!.offset) {
        this.failures--
        throw new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', 'the store went away in the middle of a write')
      }
    }
    this.#rows = { sums, epoch: current, next: batch.next }
  }
}

const twenty = Array.from({ length: 20 }, (_, i) => record(`k${i % 3}`, `${i}`))
const sums = { k0: 63, k1: 70, k2: 57 }

function sinks(under: LogContractDriver): void {
  behavior(under, 'a write that fails half-way leaves nothing, and is taken once in the end', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...twenty)
    const sink = new FencedSink()
    sink.failures = 4
    let epoch = 0
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders], batchRecords: 6 },
      {
        onAssigned: async () => {
          epoch = sink.claim()
          return sink.next
        },
        onBatch: async (batch) => sink.apply(batch, epoch),
      },
    )
    await until('all of it', () => sink.next === 20n)
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual([sink.sums, sink.failures], [sums, 0])
  })

  behavior(
    under,
    'a batch that leaves something out is refused by the sink, and ends its consumer',
    async ({ driver, name, topic, send }) => {
      const orders = await topic(1)
      await send(orders, 0, ...twenty)
      const sink = new FencedSink()
      const fatal = gate<Error>()
      let epoch = 0
      await start(
        driver,
        { group: name('g'), topics: [orders], batchRecords: 5 },
        {
          onAssigned: async () => {
            epoch = sink.claim()
            return sink.next
          },
          onBatch: async (batch, lane) => {
            sink.apply(batch, epoch)
            if (batch.next === 5n) lane.seek(10n)
          },
          onFatal: fatal.open,
        },
      )
      strictEqual(((await fatal.opened) as SidestreamError).code, 'SIDESTREAM_STATE_GAP')
      strictEqual(sink.next, 5n)
    },
  )

  behavior(
    under,
    'a writer that wakes up after another has taken over is fenced by the sink, and its commit is lost',
    async ({ fixture, driver, name, topic, send }) => {
      const orders = await topic(1)
      const group = name('g')
      await send(orders, 0, ...twenty)
      const sink = new FencedSink()
      const [asleep, wake, awake] = [gate<Lane>(), gate(), gate<unknown>()]
      let old = 0
      await start(
        driver,
        { group, topics: [orders], batchRecords: 5 },
        {
          onAssigned: async () => {
            old = sink.claim()
            return sink.next
          },
          onBatch: async (batch, lane) => {
            if (batch.first === 5n) {
              asleep.open(lane)
              await wake.opened
              try {
                sink.apply(batch, old)
                awake.open(undefined)
              } catch (error) {
                awake.open(error)
              }
              return
            }
            sink.apply(batch, old)
          },
        },
      )
      const lane = await asleep.opened
      const again = await fixture.reopen()
      let epoch = 0
      const next = await start(
        again,
        { group, topics: [orders] },
        {
          onAssigned: async () => {
            epoch = sink.claim()
            return sink.next
          },
          onBatch: async (batch) => sink.apply(batch, epoch),
        },
      )
      await until('the new writer', () => sink.next === 20n)
      wake.open()
      strictEqual(((await awake.opened) as SidestreamError).code, 'SIDESTREAM_EPOCH_FENCED')
      strictEqual(lane.signal.aborted, true)
      strictEqual(await lane.commit(10n), 'lost')
      await next.stop({ drainMs: 1000 })
      deepStrictEqual(sink.sums, sums)
      deepStrictEqual(await (await again.admin()).committed(group, orders), [20n])
    },
    { reopens: true },
  )

  behavior(under, 'a replay from the start writes what is there already', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...twenty)
    const sink = new FencedSink()
    const epoch = sink.claim()
    let passes = 0
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders], batchRecords: 7 },
      {
        onBatch: async (batch, lane) => {
          sink.apply(batch, epoch)
          if (batch.next === 20n && ++passes < 3) lane.seek(0n)
        },
      },
    )
    await until('three passes', () => passes === 3)
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(sink.sums, sums)
  })
}

function deadLetters(under: LogContractDriver): void {
  behavior(under, 'what fails again and again goes to the dead letters after its tries, and the rest goes on', async (bench) => {
    const { driver, name, topic, send } = bench
    const [orders, dead] = [await topic(1), await topic(1, 'dead')]
    const group = name('g')
    await send(orders, 0, ...numbered(9))
    const tries = new Map<string, number>()
    const taken: string[] = []
    const consumer = await start(
      driver,
      { group, topics: [orders], batchRecords: 3 },
      {
        onBatch: async (batch, lane) => {
          for (const one of batch.records) {
            const value = text(one.value)!
            if (taken.includes(value)) continue
            if (value !== '4') taken.push(value)
            else if (tries.get(value) === 3) await send(dead, 0, { key: one.key, value: one.value, headers: [['tries', Buffer.from('3')]] })
            else {
              tries.set(value, (tries.get(value) ?? 0) + 1)
              throw new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', 'not this one')
            }
          }
          await lane.commit(batch.next)
        },
      },
    )
    await until('the rest', () => taken.length === 8)
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(taken, ['0', '1', '2', '3', '5', '6', '7', '8'])
    const { records } = await collect(driver, { group: name('h'), topics: [dead] }, 1)
    deepStrictEqual([values(records), text(records[0]!.headers[0]![1])], [['4'], '3'])
    deepStrictEqual(await (await driver.admin()).committed(group, orders), [9n])
  })

  behavior(under, 'a dead letter that cannot be sent holds the position: nothing is skipped', async (bench) => {
    const { driver, name, topic, send } = bench
    const orders = await topic(1)
    const group = name('g')
    await send(orders, 0, ...numbered(3))
    const fatal = gate<Error>()
    await start(
      driver,
      { group, topics: [orders] },
      {
        onBatch: async ({ records }) => {
          await send(name('missing'), 0, record(null, text(records[0]!.value)))
        },
        onFatal: fatal.open,
      },
    )
    strictEqual(((await fatal.opened) as SidestreamError).code, 'SIDESTREAM_TOPIC_UNKNOWN')
    deepStrictEqual(await (await driver.admin()).committed(group, orders), [undefined])
    await rejects(send(name('missing'), 0, record('k', 'v')), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
  })
}

function backpressure(under: LogContractDriver): void {
  behavior(under, 'a lane that is held up lets others flow, and misses nothing when it goes on', async ({ driver, name, topic, send }) => {
    const orders = await topic(2)
    const large = (count: number): { key: null; value: Uint8Array }[] =>
      Array.from({ length: count }, (_, i) => ({ key: null, value: new Uint8Array(20_000).fill(i % 251) }))
    for (let i = 0; i < 10; i++) await send(orders, 0, ...large(30))
    await send(orders, 1, ...large(10))
    const [entered, release] = [gate(), gate()]
    const offsets: [bigint[], bigint[]] = [[], []]
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders], laneBytes: 131_072 },
      {
        onBatch: async ({ partition, records }) => {
          if (partition === 0) {
            entered.open()
            await release.opened
          }
          offsets[partition as 0 | 1].push(...records.map(({ offset }) => offset))
        },
      },
    )
    await entered.opened
    for (let i = 0; i < 10; i++) await send(orders, 1, ...large(10))
    await until('the other partition', () => offsets[1].length === 110)
    strictEqual(offsets[0].length, 0)
    release.open()
    await until('the held one', () => offsets[0].length === 300)
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(
      offsets[0],
      Array.from({ length: 300 }, (_, i) => BigInt(i)),
    )
  })
}
