/** Where a lane begins, by what the brokers, the group and the sink say. */
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { startPoint } from '../../../connectors/log/kafka-start.ts'
import type { KafkaView, OffsetPoint } from '../../../connectors/log/kafka-view.ts'

const place = { topic: 't', partition: 0 }
const at = (offset: bigint | undefined) => new Map(offset === undefined ? [] : [['t/0', offset]])
/** A log that has grown since the facts were looked up. */
const view = { offsets: async (_places: unknown, point: OffsetPoint) => at(point === 'stable' ? 95n : 110n) } as unknown as KafkaView

function begin(answer: bigint | undefined, committed: bigint | undefined, rule: 'earliest' | 'latest' = 'earliest') {
  const warnings: object[] = []
  const logger = { debug: () => {}, warn: (fields: object) => void warnings.push(fields) }
  const facts = { start: at(10n), end: at(100n), committed: at(committed) }
  return startPoint(view, place, { facts, answer, rule, logger }).then((point) => ({ ...point, warnings: warnings.length }))
}

test('the sink, then the commit, then the rule; what is gone is a gap', async () => {
  deepStrictEqual(await begin(50n, 70n), { position: 50n, warnings: 0 })
  deepStrictEqual(await begin(0n, 70n), { position: 10n, warnings: 0 })
  deepStrictEqual(await begin(4n, 70n), { position: 10n, gap: { expected: 4n, first: 10n, end: 100n }, warnings: 0 })
  deepStrictEqual(await begin(undefined, 70n), { position: 70n, warnings: 0 })
  deepStrictEqual(await begin(undefined, 4n), { position: 10n, gap: { expected: 4n, first: 10n, end: 100n }, warnings: 0 })
  deepStrictEqual(await begin(undefined, undefined), { position: 10n, warnings: 0 })
  deepStrictEqual(await begin(undefined, undefined, 'latest'), { position: 95n, warnings: 0 })
})

test('a position past the end is looked at twice: the log may have grown', async () => {
  strictEqual((await begin(108n, undefined)).position, 108n)
  deepStrictEqual(await begin(undefined, 108n), { position: 108n, warnings: 0 })
  await rejects(begin(111n, undefined), { code: 'SIDESTREAM_STATE_GAP' })
  deepStrictEqual(await begin(undefined, 111n), { position: 10n, warnings: 1 }) // a commit is only a hint
})
