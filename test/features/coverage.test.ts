import { deepStrictEqual, match, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { judgeReadiness } from '../../features/index.ts'
import type { PartitionProgress } from '../../features/index.ts'

const done: PartitionProgress = {
  topic: 'item-content',
  partition: 0,
  start: 10n,
  cut: 100n,
  position: 120n,
  end: 125n,
  rows: 80,
  tombstones: 20,
  deadLetters: 7,
  absent: 3,
  appendsPerSecond: 50,
}

test('a version is ready when every partition has passed its cut, its counts add up and it is near the end', () => {
  deepStrictEqual(judgeReadiness([done, { ...done, partition: 1, end: 120n, appendsPerSecond: 0 }]), { ready: true, missing: [] })
})

test('each reason is said, and one partition is enough to wait for', () => {
  const cases: [Partial<PartitionProgress>, RegExp][] = [
    [{ cut: 121n }, /item-content\/0 is at 120, the cut is 121/],
    [{ rows: 79 }, /79 rows \+ 20 tombstones \+ 7 dead letters \+ 3 without an item = 109, but 110 offsets/],
    [{ deadLetters: 8 }, /111, but 110/],
    [{ end: 170n }, /50 records behind/],
    [{ end: 121n, appendsPerSecond: 0 }, /1 records behind/],
  ]
  for (const [change, reason] of cases) {
    const { ready, missing } = judgeReadiness([
      { ...done, partition: 1 },
      { ...done, ...change },
    ])
    strictEqual(ready, false)
    strictEqual(missing.length, 1)
    match(missing[0]!, reason)
  }
})

test('nothing counted is not ready; an empty partition is', () => {
  strictEqual(judgeReadiness([]).ready, false)
  const empty = {
    ...done,
    start: 0n,
    cut: 0n,
    position: 0n,
    end: 0n,
    rows: 0,
    tombstones: 0,
    deadLetters: 0,
    absent: 0,
    appendsPerSecond: 0,
  }
  strictEqual(judgeReadiness([empty]).ready, true)
})
