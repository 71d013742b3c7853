import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import { SidestreamError } from '../../../schemas/index.ts'
import type { ProducerRecord } from '../../../connectors/index.ts'
import type { BatchMessages } from '../../../connectors/log/kafka-batch-messages.ts'
import { framedBytes } from '../../../connectors/log/kafka-records.ts'
import { KafkaSendQueue } from '../../../connectors/log/kafka-send-queue.ts'
import type { SendOutcome } from '../../../connectors/log/kafka-send-queue.ts'

const refuse = (code: 'SIDESTREAM_RECORD_TOO_LARGE' | 'SIDESTREAM_RECORD_INVALID'): SendOutcome => ({
  kind: 'refused',
  error: new SidestreamError(code, 'refused'),
})
const away: SendOutcome = { kind: 'unknown', error: new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', 'away') }

/** A partition that takes batches up to a size and no record named `bad`, and fails now and then without saying whether it wrote. */
class Partition {
  readonly written: string[] = []
  readonly batches: { records: number; bytes: number }[] = []
  readonly #mostBytes: number
  readonly #failures: Set<number>
  #batch = 0
  #busy = false

  constructor(mostBytes: number, failures: readonly number[] = []) {
    this.#mostBytes = mostBytes
    this.#failures = new Set(failures)
  }

  async append({ records }: BatchMessages): Promise<SendOutcome> {
    ok(!this.#busy, 'one batch in flight')
    this.#busy = true
    await new Promise(setImmediate)
    this.#busy = false
    const bytes = records.reduce((sum, { value }) => sum + value!.length, 0)
    this.batches.push({ records: records.length, bytes })
    if (this.#failures.has(this.#batch++)) return away
    if (bytes > this.#mostBytes) return refuse('SIDESTREAM_RECORD_TOO_LARGE')
    const names = records.map(({ key }) => String(key))
    if (names.some((name) => name.startsWith('bad'))) return refuse('SIDESTREAM_RECORD_INVALID')
    const base = BigInt(this.written.length)
    this.written.push(...names)
    return { kind: 'done', base }
  }
}

const named = (name: string, bytes: number): ProducerRecord => ({ key: Buffer.from(name), value: new Uint8Array(bytes) })
const bytesOf = (records: readonly ProducerRecord[]): number => records.reduce((sum, record) => sum + framedBytes(record), 0)

const call = fc.record({
  sizes: fc.array(fc.oneof(fc.nat(300), fc.integer({ min: 100_000, max: 500_000 })), { minLength: 1, maxLength: 12 }),
  bad: fc.boolean(),
  pause: fc.boolean(),
})

test('records leave in call order, each call in one run, batches bounded; a refused call fails alone', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 25 }), fc.constantFrom(1_100_000, 400_000), async (calls, mostBytes) => {
      const partition = new Partition(mostBytes)
      const queue = new KafkaSendQueue(0, (messages) => partition.append(messages))
      const pushes: Promise<bigint | SidestreamError>[] = []
      const names = calls.map(({ sizes, bad }, c) => sizes.map((_, i) => `${bad && i === 0 ? 'bad' : 'ok'}-${c}-${i}`))
      for (const [c, { sizes, pause }] of calls.entries()) {
        const records = sizes.map((size, i) => named(names[c]![i]!, size))
        pushes.push(queue.push(records, bytesOf(records)).catch((error: SidestreamError) => error))
        if (pause) await new Promise(setImmediate)
      }
      const outcomes = await Promise.all(pushes)
      let at = 0
      for (const [c, { sizes, bad }] of calls.entries()) {
        const outcome = outcomes[c]!
        const tooLarge = sizes.findIndex((size) => size > mostBytes)
        if (bad) strictEqual((outcome as SidestreamError).class, 'poison')
        else if (tooLarge >= 0) strictEqual((outcome as SidestreamError).code, 'SIDESTREAM_RECORD_TOO_LARGE')
        else strictEqual(outcome, BigInt(at))
        // What a call wrote before its refused record stays written.
        const prefix = bad
          ? 0
          : tooLarge >= 0
            ? partition.written.slice(at).findIndex((name) => !name.startsWith(`ok-${c}-`))
            : sizes.length
        const count = prefix < 0 ? partition.written.length - at : prefix
        deepStrictEqual(partition.written.slice(at, at + count), names[c]!.slice(0, count))
        at += count
      }
      strictEqual(at, partition.written.length)
      for (const { records, bytes } of partition.batches) ok(records <= 1000 && (bytes <= 921_600 || records === 1))
    }),
    { numRuns: 60 },
  )
})

test('a batch whose outcome is unknown fails its calls and those behind it, never one behind while one before is taken', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(20), { maxLength: 6 }), fc.integer({ min: 1, max: 40 }), async (failures, count) => {
      const partition = new Partition(1_000_000, failures)
      const queue = new KafkaSendQueue(0, (messages) => partition.append(messages))
      let open = Array.from({ length: count }, (_, c) => c)
      for (let round = 0; open.length > 0; round++) {
        ok(round <= failures.length + 1)
        const outcomes = await Promise.allSettled(open.map((c) => queue.push([named(`${c}`, 10), named(`${c}`, 10)], 200)))
        const taken = outcomes.map(({ status }) => status === 'fulfilled')
        deepStrictEqual(
          taken,
          [...taken].sort((a, b) => Number(b) - Number(a)),
          'what is taken comes first',
        )
        open = open.filter((_, i) => !taken[i]) // sent again, in order, as callers do
      }
      deepStrictEqual(
        partition.written.filter((_, i) => i % 2 === 0),
        Array.from({ length: count }, (_, c) => `${c}`),
      )
    }),
    { numRuns: 100 },
  )
})

test('calls that come while a batch is away leave together', async () => {
  const partition = new Partition(1_000_000)
  const queue = new KafkaSendQueue(0, (messages) => partition.append(messages))
  const bases = await Promise.all(Array.from({ length: 1500 }, (_, i) => queue.push([named(`${i}`, 1)], 50)))
  deepStrictEqual(
    bases,
    Array.from({ length: 1500 }, (_, i) => BigInt(i)),
  )
  deepStrictEqual(
    partition.batches.map(({ records }) => records),
    [1, 1000, 499],
  )
})
