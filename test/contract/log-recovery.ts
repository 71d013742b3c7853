/** The log's contract when handlers fail or the process dies: what is repeated, what is told, what is kept. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'

import { isPoison, SidestreamError } from '../../schemas/index.ts'
import type { Lane, LogBatch, LogDriver } from '../../connectors/index.ts'
import { behavior, collect, gate, numbered, record, start, text, values } from './log-fixture.ts'
import type { Bench, LogContractDriver } from './log-fixture.ts'

export function recoveryContract(under: LogContractDriver): void {
  handlerErrors(under)
  crashes(under)
  restores(under)
}

const busy = (): SidestreamError => new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', 'the store is away')

function handlerErrors(under: LogContractDriver): void {
  behavior(under, 'a retryable error brings the same batch again until it is taken', async ({ driver, name, topic, send }) => {
    const orders = await topic(2)
    await send(orders, 0, ...numbered(3))
    const tries: LogBatch[] = []
    const done = gate()
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders] },
      {
        onBatch: async (batch) => {
          tries.push(batch)
          if (tries.length < 7) throw busy()
          done.open()
        },
      },
    )
    await done.opened
    await consumer.stop({ drainMs: 1000 })
    strictEqual(tries.length, 7)
    for (const batch of tries) deepStrictEqual([batch.first, batch.next, values(batch.records)], [0n, 3n, ['0', '1', '2']])
  })

  behavior(under, 'a TypeError in a handler does not end the consumer when the next try works', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...numbered(2))
    let tries = 0
    const done = gate()
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders] },
      {
        onBatch: async (batch) => {
          if (++tries <= 2) (undefined as unknown as { call(): void }).call()
          if (batch.next === 4n) done.open()
        },
      },
    )
    await send(orders, 0, ...numbered(2))
    await done.opened
    await consumer.stop({ drainMs: 1000 })
    ok(tries >= 3)
  })

  behavior(
    under,
    'an error that stays is fatal after a few tries: told once with its cause, nothing moved, nothing lost',
    async (bench) => {
      const { driver, name, topic, send } = bench
      const orders = await topic(2)
      const group = name('g')
      await send(orders, 0, ...numbered(3))
      const fatal = gate<Error>()
      const told: Error[] = []
      const lanes: Lane[] = []
      let tries = 0
      const consumer = await start(
        driver,
        { group, topics: [orders] },
        {
          onAssigned: async (lane) => void lanes.push(lane) as undefined,
          onBatch: async () => {
            tries++
            throw new TypeError('always')
          },
          onFatal: (error) => {
            told.push(error)
            fatal.open(error)
          },
        },
      )
      strictEqual((await fatal.opened).message, 'always')
      deepStrictEqual([tries, told.length], [4, 1])
      ok(lanes.length === 2 && lanes.every(({ signal }) => signal.aborted))
      await consumer.stop({ drainMs: 1000 })
      deepStrictEqual(await (await driver.admin()).committed(group, orders), [undefined, undefined])
      deepStrictEqual(values((await collect(driver, { group, topics: [orders] }, 3)).records), ['0', '1', '2'])
    },
  )

  behavior(under, 'a poison record goes to the dead letters first, then the position passes it', async (bench) => {
    const { driver, name, topic, send } = bench
    const [orders, dead] = [await topic(1), await topic(1, 'dead')]
    const group = name('g')
    await send(orders, 0, record('a', '1'), record('b', 'not a number'), record('c', '3'))
    const sink: number[] = []
    const done = gate()
    const consumer = await start(
      driver,
      { group, topics: [orders] },
      {
        onBatch: async (batch, lane) => {
          for (const one of batch.records) {
            try {
              sink.push(decimal(text(one.value)!))
            } catch (error) {
              if (!isPoison(error)) throw error
              await send(dead, 0, { key: one.key, value: one.value, headers: [['reason', Buffer.from(error.code)]] })
            }
          }
          strictEqual(await lane.commit(batch.next), 'ok')
          if (batch.next === 3n) done.open()
        },
      },
    )
    await done.opened
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(sink, [1, 3])
    const { records } = await collect(driver, { group: name('h'), topics: [dead] }, 1)
    deepStrictEqual([text(records[0]!.key), text(records[0]!.headers[0]![1])], ['b', 'SIDESTREAM_RECORD_INVALID'])
    deepStrictEqual(await (await driver.admin()).committed(group, orders), [3n])
  })

  behavior(under, 'a seek or a stop ends the tries of a batch', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...numbered(4))
    const firsts: bigint[] = []
    const again = gate()
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders], batchRecords: 2 },
      {
        onBatch: async (batch, lane) => {
          firsts.push(batch.first)
          if (firsts.length === 2) lane.seek(3n)
          if (firsts.length === 4) again.open()
          if (firsts.length >= 2) throw busy()
        },
      },
    )
    await again.opened
    await consumer.stop({ drainMs: 10_000 })
    deepStrictEqual(firsts.slice(0, 4), [0n, 2n, 3n, 3n])
  })
}

function decimal(value: string): number {
  if (/^\d+$/.test(value)) return Number(value)
  throw new SidestreamError('SIDESTREAM_RECORD_INVALID', `${value} is no number`)
}

/** A sink that keeps its position with its data, as LMDB does: sums values per key. */
class Sink {
  readonly sums = new Map<string, number>()
  next = 0n

  apply(batch: LogBatch): void {
    for (const { key, value, offset } of batch.records) {
      if (offset < this.next) continue
      const name = text(key)!
      this.sums.set(name, (this.sums.get(name) ?? 0) + Number(text(value)))
    }
    if (batch.next > this.next) this.next = batch.next
  }
}

function crashes(under: LogContractDriver): void {
  const cases = [
    { title: 'before the sink writes', write: false, commit: false },
    { title: 'between the sink and the commit', write: true, commit: false },
    { title: 'after the commit', write: true, commit: true },
  ]
  for (const { title, write, commit } of cases) {
    behavior(
      under,
      `a crash ${title} neither loses nor repeats anything in a sink that owns its position`,
      async ({ fixture, driver, name, topic, send }) => {
        const orders = await topic(1)
        const group = name('g')
        await send(orders, 0, ...Array.from({ length: 20 }, (_, i) => record(`k${i % 3}`, `${i}`)))
        const sink = new Sink()
        const crash = gate()
        await start(
          driver,
          { group, topics: [orders], batchRecords: 5 },
          {
            onBatch: async (batch, lane) => {
              const last = batch.first === 10n
              if (!last || write) sink.apply(batch)
              if (!last || commit) await lane.commit(batch.next)
              if (!last) return
              crash.open()
              await new Promise(() => {}) // never comes back
            },
          },
        )
        await crash.opened
        await drainInto(sink, await fixture.reopen(), group, orders, 20n)
        deepStrictEqual(Object.fromEntries(sink.sums), { k0: 63, k1: 70, k2: 57 })
      },
      { reopens: true },
    )
  }
}

async function drainInto(sink: Sink, driver: LogDriver, group: string, topic: string, end: bigint): Promise<void> {
  const done = gate()
  const consumer = await start(
    driver,
    { group, topics: [topic] },
    {
      onAssigned: async () => sink.next,
      onBatch: async (batch) => {
        sink.apply(batch)
        if (batch.next === end) done.open()
      },
    },
  )
  await done.opened
  await consumer.stop({ drainMs: 1000 })
}

/** Reads a changelog from its start to the end it has now, the way a state is restored. */
async function restore({ driver, name }: Bench, topic: string): Promise<{ state: Map<string, string>; next: bigint }> {
  const end = (await (await driver.admin()).describe(topic)).end[0]!
  const state = new Map<string, string>()
  const done = gate<bigint>()
  if (end === 0n) done.open(0n)
  const consumer = await start(
    driver,
    { group: name('restore'), topics: [topic], batchRecords: 7 },
    {
      onBatch: async (batch) => {
        for (const { key, value } of batch.records) {
          if (value === null) state.delete(text(key)!)
          else state.set(text(key)!, text(value)!)
        }
        if (batch.next >= end) done.open(batch.next)
      },
    },
  )
  const next = await done.opened
  await consumer.stop({ drainMs: 1000 })
  return { state, next }
}

function restores(under: LogContractDriver): void {
  behavior(under, 'a state restored from its changelog equals the live one, tombstones too', async (bench) => {
    const changelog = await bench.topic(1)
    const live = new Map<string, string>()
    for (let i = 0; i < 60; i++) {
      const key = `user${(i * 7) % 11}`
      if (i % 5 === 4) live.delete(key)
      else live.set(key, `${i}`)
      await bench.send(changelog, 0, record(key, i % 5 === 4 ? null : `${i}`))
    }
    const { state } = await restore(bench, changelog)
    deepStrictEqual(Object.fromEntries(state), Object.fromEntries(live))
  })

  behavior(under, 'a restore that runs beside a writer ends, and holds at least what was there at its start', async (bench) => {
    const changelog = await bench.topic(1)
    await bench.send(changelog, 0, ...numbered(100, 'a'))
    let writing = true
    const writer = (async () => {
      for (let i = 0; writing; i++) await bench.send(changelog, 0, record(`k${i % 100}`, `b${i}`))
    })()
    const { state, next } = await restore(bench, changelog)
    writing = false
    await writer
    strictEqual(state.size, 100)
    ok(next >= 100n)
  })
}
