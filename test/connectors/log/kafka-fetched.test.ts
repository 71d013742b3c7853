import { deepStrictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { mendFetched } from '../../../connectors/log/kafka-fetched.ts'
import type { FetchedMessage, FetchedPartition } from '../../../connectors/log/kafka-client.ts'

/** Records at offsets of one batch that once held more. */
function batch(first: number, last: number, offsets: readonly number[]): FetchedMessage[] {
  const batchContext = { firstOffset: `${first}`, lastOffsetDelta: last - first, producerId: '1', inTransaction: false }
  return offsets.map((offset) => ({
    key: Buffer.from('k'),
    value: Buffer.from('v'),
    headers: {},
    timestamp: '0',
    offset: `${offset}`,
    attributes: 0,
    isControlRecord: false,
    batchContext,
  }))
}

function mended(...messages: FetchedMessage[]): [string, boolean][] {
  const fetched: FetchedPartition = { partition: 0, highWatermark: '1000', messages }
  mendFetched(fetched)
  return fetched.messages.map(({ offset, isControlRecord }) => [offset, isControlRecord === true])
}

test('a hole at the end of a fetch is passed at once', () => {
  const whole = batch(0, 2, [0, 1, 2])
  deepStrictEqual(mended(), [])
  deepStrictEqual(mended(...whole), [
    ['0', false],
    ['1', false],
    ['2', false],
  ])
  deepStrictEqual(mended(...batch(0, 99, [0, 40])), [
    ['0', false],
    ['40', false],
    ['99', true],
  ])
  deepStrictEqual(mended(...batch(0, 99, [3]), ...batch(100, 100, [100])), [
    ['3', false],
    ['100', false],
  ])
  const old = batch(0, 9, [5]).map(({ batchContext: _context, ...message }) => message)
  deepStrictEqual(mended(...old), [['5', false]])
})
