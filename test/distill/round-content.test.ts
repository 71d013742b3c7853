import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addContent, contentAsOf, pruneContent } from '../../distill/index.ts'
import type { ContentEntry } from '../../distill/index.ts'

const entries = fc
  .array(fc.tuple(fc.nat({ max: 20 }), fc.option(fc.nat(), { nil: undefined })), { maxLength: 15 })
  .map((list) => list.map(([eventTs, value], i): ContentEntry<number> => ({ offset: BigInt(i), eventTs, value })))

const newest = (all: readonly ContentEntry<number>[], endTs: number): ContentEntry<number> | undefined =>
  all.filter(({ eventTs }) => eventTs < endTs).at(-1)

test('a round sees the newest offset with an event time before its end, though only few entries are kept', () => {
  fc.assert(
    fc.property(entries, (all) => {
      const kept = all.reduce<readonly ContentEntry<number>[]>(addContent, [])
      for (let end = 0; end <= 21; end++) strictEqual(contentAsOf(kept, end), newest(all, end))
    }),
  )
})

test('what is dropped behind a round is never asked for again', () => {
  fc.assert(
    fc.property(entries, fc.nat({ max: 20 }), (all, from) => {
      const kept = pruneContent(all.reduce<readonly ContentEntry<number>[]>(addContent, []), from)
      for (let end = from; end <= 21; end++) strictEqual(contentAsOf(kept, end), newest(all, end))
    }),
  )
})

test('a record that comes again changes nothing', () => {
  const entry = { offset: 3n, eventTs: 5, value: 1 }
  const kept = addContent([], entry)
  strictEqual(addContent(kept, entry), kept)
  strictEqual(addContent(kept, { offset: 2n, eventTs: 1, value: 0 }), kept)
})

test('a tombstone hides what came before it', () => {
  const kept = [
    { offset: 1n, eventTs: 5, value: 'vector' },
    { offset: 2n, eventTs: 8, value: undefined },
  ].reduce<readonly ContentEntry<string>[]>(addContent, [])
  deepStrictEqual([contentAsOf(kept, 8)?.value, contentAsOf(kept, 9)?.value], ['vector', undefined])
  strictEqual(contentAsOf(kept, 9)?.offset, 2n)
})
