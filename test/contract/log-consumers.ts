/** The consuming side of the log's contract: positions, errors, pauses, stops, and topics that come and go. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'

import type { SidestreamError } from '../../schemas/index.ts'
import type { Lane, LogBatch } from '../../connectors/index.ts'
import { recoveryContract } from './log-recovery.ts'
import { behavior, collect, gate, numbered, record, start, text, values } from './log-fixture.ts'
import type { LogContractDriver } from './log-fixture.ts'

export function consumerContract(under: LogContractDriver): void {
  positions(under)
  flow(under)
  stops(under)
  topicsThatChange(under)
  recoveryContract(under)
}

function positions(under: LogContractDriver): void {
  behavior(under, 'start is earliest or latest, a commit wins over it, the sink wins over both', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const group = name('g')
    await send(orders, 0, ...numbered(4, 'old'))
    const latest = gate<LogBatch>()
    const late = await start(
      driver,
      { group: name('late'), topics: [orders], start: 'latest' },
      { onBatch: async (batch) => latest.open(batch) },
    )
    await send(orders, 0, record('k', 'new'))
    deepStrictEqual(values((await latest.opened).records), ['new'])
    await late.stop({ drainMs: 1000 })
    strictEqual(values((await collect(driver, { group, topics: [orders] }, 5)).records)[0], 'old0')
    await send(orders, 0, record('k', 'newer'))
    deepStrictEqual(values((await collect(driver, { group, topics: [orders] }, 1)).records), ['newer'])
    const fromSink = gate<LogBatch>()
    const sink = await start(
      driver,
      { group, topics: [orders] },
      { onAssigned: async () => 3n, onBatch: async (batch) => fromSink.open(batch) },
    )
    strictEqual((await fromSink.opened).first, 3n)
    await sink.stop({ drainMs: 1000 })
  })

  behavior(under, 'a position that only the handler may commit is stored by nobody else', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const group = name('g')
    await send(orders, 0, ...numbered(6, 'old'))
    const committed = async (): Promise<bigint | undefined> => (await (await driver.admin()).committed(group, orders))[0]
    await collect(driver, { group, topics: [orders] }, 6)
    strictEqual(await committed(), 6n)
    const all = gate()
    const again = await start(
      driver,
      { group, topics: [orders], commits: 'handler' },
      { onAssigned: async () => 0n, onBatch: async ({ next }) => void (next === 6n && all.open()) },
    )
    await all.opened
    await again.stop({ drainMs: 1000 })
    strictEqual(await committed(), 6n, 'a reading from the start leaves the hint where it was')
  })

  behavior(under, 'a sink ahead of the log is told, not waited for', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...numbered(2))
    const group = name('g')
    await rejects(start(driver, { group, topics: [orders] }, { onAssigned: async () => 3n, onBatch: async () => {} }), {
      code: 'SIDESTREAM_STATE_GAP',
    })
    strictEqual((await collect(driver, { group, topics: [orders] }, 2)).records.length, 2)
  })

  behavior(under, 'seek goes back and forward; the batch after a seek begins there', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...numbered(10))
    const sink = new Map<string | null, string | null>()
    const firsts: bigint[] = []
    const done = gate()
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders], batchRecords: 4 },
      {
        onBatch: async (batch, lane) => {
          firsts.push(batch.first)
          for (const { key, value } of batch.records) sink.set(text(key), text(value))
          if (firsts.length === 2) lane.seek(0n)
          if (firsts.length === 3) lane.seek(9n)
          if (batch.next === 10n) done.open()
        },
      },
    )
    await done.opened
    deepStrictEqual(firsts, [0n, 4n, 0n, 9n])
    deepStrictEqual([...sink.values()], ['0', '1', '2', '3', '4', '5', '6', '7', '9'])
    await consumer.stop({ drainMs: 1000 })
  })

  behavior(under, 'a commit after the lane was given up is lost and changes nothing', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const group = name('g')
    await send(orders, 0, ...numbered(6))
    const { lanes } = await collect(driver, { group, topics: [orders] }, 6)
    const admin = await driver.admin()
    deepStrictEqual(await admin.committed(group, orders), [6n])
    strictEqual(await lanes[0]!.commit(2n), 'lost')
    deepStrictEqual(await admin.committed(group, orders), [6n])
    const next = await start(
      driver,
      { group, topics: [orders] },
      { onAssigned: async (lane) => void lanes.concat(lane), onBatch: async () => {} },
    )
    strictEqual(await lanes[0]!.commit(2n), 'lost')
    await next.stop({ drainMs: 1000 })
    deepStrictEqual(await admin.committed(group, orders), [6n])
  })

  behavior(under, 'epochs grow with every assignment, and commits may go backwards', async ({ driver, name, topic, send }) => {
    const orders = await topic(2)
    const group = name('g')
    await send(orders, 0, ...numbered(3))
    const epochs: number[] = []
    const admin = await driver.admin()
    for (const next of [3n, 1n]) {
      const answers: string[] = []
      const consumer = await start(
        driver,
        { group, topics: [orders] },
        {
          onAssigned: async (lane) => {
            epochs.push(lane.epoch)
            if (lane.partition === 0) answers.push(await lane.commit(next))
            return 3n * BigInt(1 - lane.partition)
          },
          onBatch: async () => {},
        },
      )
      await consumer.stop({ drainMs: 1000 })
      deepStrictEqual(answers, ['ok'])
      deepStrictEqual(await admin.committed(group, orders), [next, undefined])
    }
    strictEqual(new Set(epochs).size, 4)
    ok(Math.min(...epochs.slice(2)) > Math.max(...epochs.slice(0, 2)))
  })

  behavior(under, 'lag counts what is behind the end; an idle or finished topic has none', async ({ driver, name, topic, send }) => {
    const [orders, idle] = [await topic(1), await topic(1)]
    await send(orders, 0, ...numbered(10))
    const [first, go, second] = [gate(), gate(), gate()]
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders, idle], batchRecords: 4 },
      {
        onBatch: async (batch) => {
          if (batch.first === 4n) {
            first.open()
            await go.opened
          }
          if (batch.next === 10n) second.open()
        },
      },
    )
    await first.opened
    deepStrictEqual(
      await consumer.lag(),
      new Map([
        [`${orders}/0`, 6n],
        [`${idle}/0`, 0n],
      ]),
    )
    go.open()
    await second.opened
    await consumer.stop({ drainMs: 1000 })
    const rest = await start(driver, { group: name('h'), topics: [idle] }, { onBatch: async () => {} })
    deepStrictEqual(await rest.lag(), new Map([[`${idle}/0`, 0n]]))
    await rest.stop({ drainMs: 1000 })
  })
}

function flow(under: LogContractDriver): void {
  behavior(
    under,
    'a slow partition does not hold up the others, and one handler runs per partition',
    async ({ driver, name, topic, send }) => {
      const orders = await topic(2)
      await send(orders, 0, ...numbered(5))
      const [slow, release, all] = [gate(), gate(), gate()]
      let [running, most, fast] = [0, 0, 0]
      const consumer = await start(
        driver,
        { group: name('g'), topics: [orders], batchRecords: 2 },
        {
          onBatch: async (batch) => {
            if (batch.partition === 0) {
              most = Math.max(most, ++running)
              slow.open()
              await release.opened
              running--
              return
            }
            fast += batch.records.length
            if (fast === 100) all.open()
          },
        },
      )
      await slow.opened
      for (let i = 0; i < 10; i++) await send(orders, 1, ...numbered(10))
      await all.opened
      release.open()
      await consumer.stop({ drainMs: 1000 })
      strictEqual(most, 1)
    },
  )

  behavior(under, 'a lane holds no more than laneBytes, however much waits', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const value = new Uint8Array(10_000)
    await send(orders, 0, ...Array.from({ length: 300 }, () => ({ key: null, value })))
    await send(orders, 0, { key: null, value: new Uint8Array(200_000) }, { key: null, value })
    const sizes: number[] = []
    const done = gate()
    const consumer = await start(
      driver,
      { group: name('g'), topics: [orders], laneBytes: 65_536 },
      {
        onBatch: async (batch) => {
          sizes.push(batch.records.reduce((sum, one) => sum + one.value!.length, 0))
          if (batch.next === 302n) done.open()
        },
      },
    )
    await done.opened
    await consumer.stop({ drainMs: 1000 })
    deepStrictEqual(
      sizes.filter((size) => size > 65_536),
      [200_000], // a record above the bound still comes, alone
    )
    strictEqual(Math.max(...sizes.filter((size) => size <= 65_536)) >= 50_000, true)
  })

  behavior(under, 'batches hold at most batchRecords and are dense', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    for (let i = 0; i < 10; i++) await send(orders, 0, ...numbered(25))
    const { batches } = await collect(driver, { group: name('g'), topics: [orders], batchRecords: 40 }, 250)
    strictEqual(Math.max(...batches.map(({ records }) => records.length)), 40)
    batches.forEach((batch, i) => strictEqual(batch.first, batches[i - 1]?.next ?? 0n))
  })

  behavior(under, 'a paused lane gets nothing until it is resumed; a new lane starts unpaused', async ({ driver, name, topic, send }) => {
    const orders = await topic(2)
    const group = name('g')
    const seen: string[] = []
    const lanes: Lane[] = []
    let other = gate()
    const consumer = await start(
      driver,
      { group, topics: [orders] },
      {
        onAssigned: async (lane) => void (lanes[lane.partition] = lane) as undefined,
        onBatch: async (batch) => {
          seen.push(...values(batch.records).map(String))
          other.open()
        },
      },
    )
    lanes[0]!.pause()
    await send(orders, 0, record('k', 'held'))
    await send(orders, 1, record('k', 'free'))
    await other.opened
    deepStrictEqual(seen, ['free'])
    other = gate()
    lanes[0]!.resume()
    await other.opened
    deepStrictEqual(seen, ['free', 'held'])
    lanes[0]!.pause()
    await consumer.stop({ drainMs: 1000 })
    await send(orders, 0, record('k', 'later'))
    deepStrictEqual(values((await collect(driver, { group, topics: [orders] }, 1)).records), ['later'])
  })

  behavior(
    under,
    'progress stands still while a handler hangs, and not while there is nothing to do',
    async ({ driver, name, topic, send }) => {
      const orders = await topic(2)
      const [entered, release] = [gate(), gate()]
      const consumer = await start(
        driver,
        { group: name('g'), topics: [orders] },
        {
          onBatch: async () => {
            entered.open()
            await release.opened
          },
        },
      )
      const idle = consumer.lastProgress()
      while (Date.now() <= idle) await new Promise(setImmediate)
      ok(consumer.lastProgress() > idle, 'an idle consumer is live')
      await send(orders, 0, record('k', 'v'))
      await entered.opened
      const stuck = consumer.lastProgress()
      const [since, from] = [Date.now(), Date.now()]
      while (Date.now() < from + 3) await new Promise(setImmediate)
      strictEqual(consumer.lastProgress(), stuck)
      ok(stuck <= since)
      release.open()
      await consumer.stop({ drainMs: 1000 })
      ok(consumer.lastProgress() >= stuck)
    },
  )
}

function stops(under: LogContractDriver): void {
  behavior(under, 'stop lets the running handler end, takes no further batch, and commits', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const group = name('g')
    await send(orders, 0, ...numbered(10))
    const [entered, release] = [gate(), gate()]
    const handled: bigint[] = []
    const revoked: Lane[] = []
    const consumer = await start(
      driver,
      { group, topics: [orders], batchRecords: 3 },
      {
        onBatch: async (batch, lane) => {
          entered.open()
          await release.opened
          strictEqual(lane.signal.aborted, false)
          handled.push(batch.next)
        },
        onRevoked: async (lane) => void revoked.push(lane),
      },
    )
    await entered.opened
    const stopped = consumer.stop({ drainMs: 20_000 })
    release.open()
    await stopped
    deepStrictEqual(handled, [3n])
    deepStrictEqual(await (await driver.admin()).committed(group, orders), [3n])
    deepStrictEqual(
      revoked.map(({ partition, signal }) => [partition, signal.aborted]),
      [[0, true]],
    )
    strictEqual(values((await collect(driver, { group, topics: [orders] }, 7)).records)[0], '3')
  })

  behavior(
    under,
    'a handler that outlives the drain is aborted, nothing of it is committed, and no other starts beside it',
    async (bench) => {
      const { driver, name, topic, send } = bench
      const orders = await topic(1)
      const group = name('g')
      await send(orders, 0, ...numbered(2))
      const [entered, aborted, release, second] = [gate(), gate(), gate(), gate<LogBatch>()]
      let running = 0
      const consumer = await start(
        driver,
        { group, topics: [orders] },
        {
          onBatch: async (_batch, lane) => {
            running++
            lane.signal.addEventListener('abort', () => aborted.open())
            entered.open()
            await release.opened
            running--
          },
        },
      )
      await entered.opened
      const stopped = consumer.stop({ drainMs: 5 })
      await aborted.opened
      await stopped
      deepStrictEqual(await (await driver.admin()).committed(group, orders), [undefined])
      const starting = start(
        driver,
        { group, topics: [orders] },
        {
          onBatch: async (batch) => {
            strictEqual(running, 0)
            second.open(batch)
          },
        },
      )
      strictEqual(running, 1)
      release.open()
      strictEqual((await second.opened).first, 0n)
      await (await starting).stop({ drainMs: 1000 })
    },
  )

  behavior(under, 'a consumer runs once, and a stopped one stays stopped', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    let batches = 0
    const consumer = await start(driver, { group: name('g'), topics: [orders] }, { onBatch: async () => void batches++ })
    await rejects(consumer.run({ onBatch: async () => {}, onFatal: () => {} }), { code: 'SIDESTREAM_USAGE_INVALID' })
    await Promise.all([consumer.stop({ drainMs: 100 }), consumer.stop({ drainMs: 100 })])
    await send(orders, 0, ...numbered(2))
    strictEqual((await collect(driver, { group: name('h'), topics: [orders] }, 2)).records.length, 2)
    strictEqual(batches, 0)
  })
}

function topicsThatChange(under: LogContractDriver): void {
  behavior(under, 'a missing topic is an error with its name', async ({ driver, name }) => {
    const missing = name('missing')
    await rejects(start(driver, { group: name('g'), topics: [missing] }, { onBatch: async () => {} }), (error: SidestreamError) => {
      strictEqual(error.code, 'SIDESTREAM_TOPIC_UNKNOWN')
      ok(error.message.includes(missing))
      return true
    })
  })

  behavior(under, 'a pattern takes topics that exist and those that come later', async ({ driver, name, send }) => {
    const family = name('family')
    const admin = await driver.admin()
    await admin.createTopics([{ name: `${family}.a`, partitions: 1 }])
    await send(`${family}.a`, 0, record('k', 'a'))
    const seen: string[] = []
    let next = gate()
    const consumer = await start(
      driver,
      { group: name('g'), topics: [new RegExp(`^${family}\\.`)] },
      {
        onBatch: async (batch) => {
          seen.push(`${batch.topic.slice(family.length)}/${batch.partition}`)
          next.open()
        },
      },
    )
    await next.opened
    next = gate()
    await admin.createTopics([
      { name: `${family}.b`, partitions: 2 },
      { name: name('stranger'), partitions: 1 },
    ])
    await send(`${family}.b`, 1, record('k', 'b'))
    await next.opened
    deepStrictEqual(seen, ['.a/0', '.b/1'])
    deepStrictEqual([...(await consumer.lag()).keys()].sort(), [`${family}.a/0`, `${family}.b/0`, `${family}.b/1`])
    await consumer.stop({ drainMs: 1000 })
  })

  behavior(
    under,
    'deleting a topic that is read is fatal to its reader, and its offsets are forgotten',
    async ({ driver, name, topic, send }) => {
      const orders = await topic(1)
      const group = name('g')
      await send(orders, 0, ...numbered(3))
      await collect(driver, { group, topics: [orders] }, 3)
      const fatal = gate<Error>()
      let lane: Lane | undefined
      await start(
        driver,
        { group, topics: [orders] },
        { onAssigned: async (given) => void (lane = given) as undefined, onBatch: async () => {}, onFatal: fatal.open },
      )
      const admin = await driver.admin()
      await admin.deleteTopic(orders)
      strictEqual(((await fatal.opened) as SidestreamError).code, 'SIDESTREAM_TOPIC_UNKNOWN')
      strictEqual(lane!.signal.aborted, true)
      await admin.createTopics([{ name: orders, partitions: 1 }])
      await send(orders, 0, record('k', 'anew'))
      const { records } = await collect(driver, { group, topics: [orders] }, 1)
      deepStrictEqual([records[0]!.offset, text(records[0]!.value)], [0n, 'anew'])
    },
  )
}
