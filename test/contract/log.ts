/**
 * The contract of the log port: one list of behaviors, each driver runs all of it.
 */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'

import { compactionContract } from './log-compaction.ts'
import { consumerContract } from './log-consumers.ts'
import { deliveryContract } from './log-delivery.ts'
import { groupContract } from './log-groups.ts'
import { readContract } from './log-read.ts'
import { behavior, collect, numbered, record, text, values } from './log-fixture.ts'
import type { LogContractDriver } from './log-fixture.ts'

export type { LogContractDriver } from './log-fixture.ts'

/** Declares all tests of the contract for one driver. */
export function logContract(driver: LogContractDriver): void {
  producerContract(driver)
  adminContract(driver)
  consumerContract(driver)
  groupContract(driver)
  compactionContract(driver)
  readContract(driver)
  deliveryContract(driver)
}

function producerContract(under: LogContractDriver): void {
  behavior(under, 'records of one key come back in the order they were sent', async ({ driver, name, topic, send }) => {
    const orders = await topic(3)
    const keys = ['ann', 'bob', 'cy', 'dora', 'eve']
    for (let i = 0; i < 20; i++) await send(orders, undefined, ...keys.map((key) => record(key, `${key}-${i}`)))
    const { records, batches } = await collect(driver, { group: name('g'), topics: [orders] }, 100)
    for (const key of keys) {
      const ofKey = records.filter((one) => text(one.key) === key)
      deepStrictEqual(
        values(ofKey),
        Array.from({ length: 20 }, (_, i) => `${key}-${i}`),
      )
      strictEqual(new Set(ofKey.map(({ partition }) => partition)).size, 1)
    }
    for (const batch of batches) {
      strictEqual(batch.first, batch.records[0]!.offset)
      ok(batch.next > batch.records.at(-1)!.offset)
      ok(batch.records.every(({ offset }, i) => i === 0 || offset > batch.records[i - 1]!.offset))
    }
  })

  behavior(under, 'headers keep order, repeats and bytes that are no text', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const binary = Uint8Array.from([0, 255, 128, 10])
    const headers = [
      ['trace', Buffer.from('1')],
      ['größe', binary],
      ['trace', Buffer.from('2')],
      ['empty', new Uint8Array(0)],
    ] as const
    await send(orders, 0, { ...record('k', 'v'), headers }, record('k', 'plain'))
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 2)
    deepStrictEqual(
      records[0]!.headers.map(([header, value]) => [header, [...value]]),
      headers.map(([header, value]) => [header, [...value]]),
    )
    deepStrictEqual(records[1]!.headers, [])
  })

  behavior(under, 'null keys, empty keys, empty values and tombstones stay distinct', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const sent = [record(null, 'a'), record('', 'b'), record('k', null), record('k', ''), record(null, null)]
    await send(orders, 0, ...sent)
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 5)
    deepStrictEqual(
      records.map(({ key, value }) => [text(key), text(value)]),
      [
        [null, 'a'],
        ['', 'b'],
        ['k', null],
        ['k', ''],
        [null, null],
      ],
    )
  })

  behavior(under, 'keys go to the partitions that the Java client chooses, null keys go round', async ({ driver, name, topic, send }) => {
    const orders = await topic(7)
    const expected = Object.fromEntries(Object.entries(javaMurmur2).map(([key, hash]) => [key, (hash & 0x7fffffff) % 7]))
    await send(orders, undefined, ...Object.keys(expected).map((key) => record(key, key)))
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 6)
    deepStrictEqual(Object.fromEntries(records.map(({ key, partition }) => [text(key), partition])), expected)
    const keyless = await topic(3)
    const first = await send(keyless, undefined, ...Array.from({ length: 9 }, (_, i) => record(null, `${i}`)))
    deepStrictEqual([...first.keys()].sort(), [0, 1, 2])
    const round = await collect(driver, { group: name('g'), topics: [keyless] }, 9)
    for (const partition of [0, 1, 2]) strictEqual(round.records.filter((one) => one.partition === partition).length, 3)
  })

  behavior(under, 'a send larger than a batch may be is split by bytes and keeps its order', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const big = Array.from({ length: 30 }, (_, i) => ({ key: Buffer.from(`${i}`), value: new Uint8Array(100_000).fill(i) }))
    deepStrictEqual(await send(orders, 0, ...big), new Map([[0, 0n]]))
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 30)
    deepStrictEqual(
      records.map(({ key, value }) => [text(key), value!.length, value![0], value![99_999]]),
      big.map((_, i) => [`${i}`, 100_000, i, i]),
    )
  })

  behavior(under, 'a record above the limit is poison: nothing of the call is written, the producer stays usable', async (bench) => {
    const { driver, name, topic, send } = bench
    const orders = await topic(2)
    const huge = { key: Buffer.from('k'), value: new Uint8Array(10 * 1024 * 1024) }
    await rejects(send(orders, undefined, record('a', '1'), huge, record('b', '2')), {
      code: 'SIDESTREAM_RECORD_TOO_LARGE',
      class: 'poison',
    })
    await send(orders, 1, record('c', '3'))
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 1)
    deepStrictEqual(values(records), ['3'])
  })

  behavior(under, 'sends that overlap keep their order in a partition, each as one run', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const starts = await Promise.all(Array.from({ length: 50 }, (_, i) => send(orders, 0, ...numbered(4, `${i}.`))))
    deepStrictEqual(
      starts.map((bases) => bases.get(0)),
      Array.from({ length: 50 }, (_, i) => BigInt(i * 4)),
    )
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 200)
    deepStrictEqual(
      values(records),
      Array.from({ length: 200 }, (_, i) => `${i >> 2}.${i & 3}`),
    )
  })

  behavior(under, 'a record keeps its own timestamp, and gets the append time without one', async ({ driver, name, topic, send }) => {
    const orders = await topic(1)
    const before = Date.now()
    await send(orders, 0, { ...record('a', 'b'), timestamp: 1_507_000_000_123 }, record('c', 'd'))
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 2)
    strictEqual(records[0]!.timestamp, 1_507_000_000_123)
    ok(records[1]!.timestamp >= before && records[1]!.timestamp <= Date.now())
  })

  behavior(under, 'transactions are there where caps say so, and refused where they do not', async ({ driver, name, topic }) => {
    const orders = await topic(2)
    if (!driver.caps.transactions) {
      const refused = { code: 'SIDESTREAM_USAGE_INVALID', class: 'fatal', message: /caps\.transactions is false/ }
      await rejects(driver.producer({ transactionalId: orders }), refused)
      strictEqual((await driver.producer()).begin, undefined)
      return
    }
    const producer = await driver.producer({ transactionalId: orders })
    for (const end of ['abort', 'commit'] as const) {
      const transaction = await producer.begin!()
      for (const partition of [0, 1]) await transaction.send(orders, partition, numbered(2, `${end}${partition}.`))
      await transaction[end]()
    }
    const { records } = await collect(driver, { group: name('g'), topics: [orders] }, 4)
    deepStrictEqual(values(records).sort(), ['commit0.0', 'commit0.1', 'commit1.0', 'commit1.1'])
  })

  behavior(under, 'an empty send writes nothing; a wrong partition, a missing topic and a closed producer are refused', async (bench) => {
    const { driver, name, topic } = bench
    const orders = await topic(2)
    const producer = await driver.producer()
    deepStrictEqual(await producer.send(orders, 0, []), new Map())
    await rejects(producer.send(orders, 2, [record('a', 'b')]), { code: 'SIDESTREAM_USAGE_INVALID' })
    await rejects(producer.send(name('missing'), 0, [record('a', 'b')]), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
    const sent = producer.send(orders, 0, [record('a', 'b')])
    await producer.close()
    deepStrictEqual(await sent, new Map([[0, 0n]]))
    await rejects(producer.send(orders, 0, [record('a', 'b')]), { code: 'SIDESTREAM_CLOSED' })
  })
}

/** Keys and hashes of `org.apache.kafka.common.utils.UtilsTest.testMurmur2`. */
const javaMurmur2 = {
  '21': -973932308,
  foobar: -790332482,
  'a-little-bit-long-string': -985981536,
  'a-little-bit-longer-string': -1486304829,
  lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
  abc: 479470107,
}

function adminContract(under: LogContractDriver): void {
  behavior(under, 'topics are created once, described, listed and deleted', async ({ driver, name, send }) => {
    const admin = await driver.admin()
    const [orders, items] = [name('orders'), name('items')]
    const wanted = [
      { name: orders, partitions: 2 },
      { name: items, partitions: 1, cleanup: 'forever' as const },
    ]
    await Promise.all([admin.createTopics(wanted), admin.createTopics(wanted)])
    await send(orders, 1, ...numbered(3))
    deepStrictEqual(await admin.describe(orders), { name: orders, partitions: 2, start: [0n, 0n], end: [0n, 3n] })
    const mine = (await admin.list()).filter((topic) => topic === orders || topic === items)
    deepStrictEqual(mine, [items, orders].sort())
    await rejects(admin.createTopics([{ name: orders, partitions: 3 }]), { code: 'SIDESTREAM_TOPIC_MISMATCH' })
    await admin.deleteTopic(items)
    await rejects(admin.describe(items), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
    await rejects(admin.deleteTopic(items), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
    strictEqual((await admin.list()).includes(items), false)
  })

  behavior(under, 'a plan says what would be created, what stays and what does not fit, and does nothing', async ({ driver, name }) => {
    const admin = await driver.admin()
    const [orders, items, users] = [name('orders'), name('items'), name('users')]
    await admin.createTopics([
      { name: orders, partitions: 2, cleanup: 'compact' },
      { name: items, partitions: 1, cleanup: 'forever' },
    ])
    const found = await admin.planTopics([
      { name: users, partitions: 3, cleanup: 'compact' },
      { name: orders, partitions: 2 },
      { name: items, partitions: 4, cleanup: 'forever' },
    ])
    // What a topic takes is told where the driver can.
    const plans = found.map(({ takesBytes: _takesBytes, ...plan }) => plan)
    deepStrictEqual(plans, [
      { name: users, action: 'create', wantedPartitions: 3, wantedCleanup: 'compact' },
      { name: orders, action: 'keep', wantedPartitions: 2, wantedCleanup: 'delete', partitions: 2, cleanup: 'compact' },
      { name: items, action: 'mismatch', wantedPartitions: 4, wantedCleanup: 'forever', partitions: 1, cleanup: 'forever' },
    ])
    await rejects(admin.describe(users), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
  })

  behavior(under, 'names that are no file names are refused', async ({ driver }) => {
    const admin = await driver.admin()
    for (const name of ['', '.', '..', '../up', 'a/b', 'a b', 'x'.repeat(250)]) {
      await rejects(admin.createTopics([{ name, partitions: 1 }]), { code: 'SIDESTREAM_USAGE_INVALID' })
    }
    await rejects(admin.createTopics([{ name: 'none', partitions: 0 }]), { code: 'SIDESTREAM_USAGE_INVALID' })
  })

  behavior(
    under,
    'records, topics and committed offsets survive a restart, and appends go on after the last one',
    async ({ fixture, driver, name, topic, send }) => {
      const orders = await topic(2)
      const group = name('g')
      await send(orders, 0, ...numbered(5, 'old'))
      await collect(driver, { group, topics: [orders] }, 5)
      const again = await fixture.reopen()
      const admin = await again.admin()
      deepStrictEqual((await admin.describe(orders)).end, [5n, 0n])
      deepStrictEqual(await admin.committed(group, orders), [5n, undefined])
      const producer = await again.producer()
      deepStrictEqual(await producer.send(orders, 0, numbered(2, 'new')), new Map([[0, 5n]]))
      deepStrictEqual(values((await collect(again, { group, topics: [orders] }, 2)).records), ['new0', 'new1'])
    },
    { reopens: true },
  )
}
