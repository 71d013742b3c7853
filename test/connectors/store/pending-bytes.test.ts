import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { PendingBytes } from '../../../connectors/store/pending-bytes.ts'

test('requests wait for room in the order they came, and none passes the bound', async () => {
  const pending = new PendingBytes(100)
  const started: number[] = []
  const take = async (bytes: number): Promise<() => void> => {
    const release = await pending.take(bytes, 60_000)
    started.push(bytes)
    return release!
  }
  const [first, second] = [await take(60), await take(40)]
  const waiting = [take(90), take(10), take(500), take(1)]
  deepStrictEqual([started, pending.used], [[60, 40], 100])
  first()
  await Promise.resolve()
  strictEqual(pending.used, 40, 'a small one does not pass a large one')
  second()
  const [third, fourth] = await Promise.all(waiting.slice(0, 2))
  deepStrictEqual([started, pending.used], [[60, 40, 90, 10], 100])
  third!()
  fourth!()
  const fifth = await waiting[2]!
  strictEqual(pending.used, 500, 'one above the bound goes alone')
  fifth()
  ;(await waiting[3]!)()
  strictEqual(pending.used, 0)
})

test('who finds no room in time is told, and those behind it go on', async () => {
  const pending = new PendingBytes(10)
  const release = await pending.take(5, 60_000)
  const late = pending.take(8, 1)
  const small = pending.take(5, 60_000)
  strictEqual(await late, undefined)
  ok(await small)
  release!()
  strictEqual(pending.used, 5)
})
