/** The log's contract for reading without a group: a topic from given positions up to a fixed end. */
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'

import type { LogBatch } from '../../connectors/index.ts'
import { behavior, gate, numbered, record, values } from './log-fixture.ts'
import type { LogContractDriver } from './log-fixture.ts'

export function readContract(under: LogContractDriver): void {
  behavior(under, 'a reading gives every record up to the end it found, and says where to go on', async ({ driver, topic, send }) => {
    const orders = await topic(3)
    await send(orders, 0, ...numbered(5, 'a'))
    await send(orders, 2, ...numbered(3, 'c'))
    const seen: string[][] = [[], [], []]
    let running = 0
    const next = await driver.read(
      orders,
      async (batch) => {
        strictEqual(++running, 1, 'one batch at a time')
        await new Promise(setImmediate)
        running--
        strictEqual(batch.topic, orders)
        seen[batch.partition]!.push(...values(batch.records).map(String))
        await send(orders, 0, record('k', 'later'))
      },
      { batchRecords: 2 },
    )
    deepStrictEqual(seen, [['a0', 'a1', 'a2', 'a3', 'a4'], [], ['c0', 'c1', 'c2']])
    deepStrictEqual(next, [5n, 0n, 3n])
    const rest: LogBatch[] = []
    await driver.read(orders, (batch) => void rest.push(batch), { from: next, upTo: [7n] })
    deepStrictEqual(
      rest.flatMap(({ partition, records }) => records.map(({ offset }) => [partition, offset])),
      [
        [0, 5n],
        [0, 6n],
      ],
    )
    strictEqual(rest.at(-1)!.next, 7n)
  })

  behavior(under, 'a reading up to an end that is not there yet waits for it, or for its signal', async ({ driver, topic, send }) => {
    const orders = await topic(1)
    await send(orders, 0, ...numbered(2))
    const seen: string[] = []
    const first = gate()
    const reading = driver.read(
      orders,
      ({ records }) => {
        seen.push(...values(records).map(String))
        first.open()
      },
      { upTo: [3n] },
    )
    await first.opened
    await send(orders, 0, ...numbered(2, 'new'))
    deepStrictEqual(await reading, [3n])
    deepStrictEqual(seen, ['0', '1', 'new0'])
    const ending = new AbortController()
    const waiting = driver.read(orders, () => {}, { upTo: [9n], signal: ending.signal })
    ending.abort(new Error('enough'))
    await rejects(waiting, { message: 'enough' })
  })

  behavior(under, 'a reading tells a missing topic, a position past the end, and an error of its reader', async (bench) => {
    const { driver, name, topic, send } = bench
    const orders = await topic(1)
    await send(orders, 0, ...numbered(2))
    await rejects(
      driver.read(name('missing'), () => {}),
      { code: 'SIDESTREAM_TOPIC_UNKNOWN' },
    )
    await rejects(
      driver.read(orders, () => {}, { from: [3n] }),
      { code: 'SIDESTREAM_STATE_GAP' },
    )
    deepStrictEqual(await driver.read(orders, () => {}, { from: [2n] }), [2n])
    const failing = driver.read(orders, () => {
      throw new TypeError('no')
    })
    await rejects(failing, TypeError)
  })
}
