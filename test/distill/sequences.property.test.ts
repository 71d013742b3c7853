import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { applyInteractions, SampleBuilder } from '../../distill/index.ts'
import type { DistillSample, Interaction } from '../../schemas/index.ts'
import { batch, likes, SequenceState } from './sequence-state.ts'

const options = { positiveBehaviors: likes, historyLength: 3, sequenceEvents: 12 }

const act: fc.Arbitrary<Interaction> = fc.record({
  userId: fc.constantFrom('u', 'v'),
  itemId: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
  eventTs: fc.nat({ max: 40 }),
  behaviors: fc.uniqueArray(fc.constantFrom('view', 'like', 'finish'), { minLength: 1, maxLength: 2 }),
})
const acts = fc.array(act, { maxLength: 120 })

/** Applies rows in batches of the given sizes (repeated), committing each. */
function ingest(rows: readonly Interaction[], sizes: readonly number[], state: SequenceState): DistillSample[] {
  const samples: DistillSample[] = []
  for (let first = 0, n = 0; first < rows.length; n++) {
    const size = sizes[n % sizes.length]!
    const applied = applyInteractions(batch(BigInt(first), ...rows.slice(first, first + size)), state, options)
    state.commit(applied.commit)
    samples.push(...applied.samples)
    first += size
  }
  return samples
}

test('samples and stored bytes do not depend on how the rows were batched', () => {
  fc.assert(
    fc.property(acts, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 5 }), (rows, sizes) => {
      const [one, many] = [new SequenceState(), new SequenceState()]
      deepStrictEqual(ingest(rows, sizes, many), ingest(rows, [Math.max(1, rows.length)], one))
      deepStrictEqual(many.bytes, one.bytes)
    }),
  )
})

test('a crash before any commit, and the replay from the stored position, change no sample and no byte', () => {
  fc.assert(
    fc.property(acts, fc.integer({ min: 1, max: 20 }), fc.nat({ max: 5 }), (rows, size, back) => {
      const [calm, crashed] = [new SequenceState(), new SequenceState()]
      const expected = ingest(rows, [size], calm)
      const seen = new Map<string, DistillSample>()
      for (let first = 0; first < rows.length; first += size) {
        // The broker may hand out rows from before the position; the first try dies after its samples were sent.
        const from = Math.max(0, first - back)
        const again = batch(BigInt(from), ...rows.slice(from, first + size))
        for (const sample of applyInteractions(again, crashed, options).samples) seen.set(JSON.stringify(sample), sample)
        const applied = applyInteractions(again, crashed, options)
        for (const sample of applied.samples) seen.set(JSON.stringify(sample), sample)
        crashed.commit(applied.commit)
      }
      deepStrictEqual([...seen.values()], [...new Map(expected.map((sample) => [JSON.stringify(sample), sample])).values()])
      deepStrictEqual(crashed.bytes, calm.bytes)
    }),
  )
})

test('the streaming job and the offline builder make the same samples', () => {
  fc.assert(
    fc.property(acts, (rows) => {
      const builder = new SampleBuilder(options)
      deepStrictEqual(
        rows.map((row) => builder.add(row)).filter((sample) => sample !== undefined),
        ingest(rows, [7], new SequenceState()),
      )
    }),
  )
})

/** The definition, written out: everything of the user that has arrived, in order of (time, arrival). */
function definition(arrived: readonly Interaction[], target: Interaction): string[] {
  const before = arrived
    .filter(({ userId, eventTs }) => userId === target.userId && eventTs <= target.eventTs)
    .toSorted((a, b) => a.eventTs - b.eventTs)
    .filter(({ itemId }) => itemId !== target.itemId)
  const newest = new Map<string, boolean>()
  for (const { itemId, behaviors } of before) {
    const liked = (newest.get(itemId) ?? false) || behaviors.some((behavior) => likes.has(behavior))
    newest.delete(itemId)
    newest.set(itemId, liked)
  }
  return [...newest]
    .filter(([, liked]) => liked)
    .map(([itemId]) => itemId)
    .slice(-options.historyLength)
}

const exposureOf = ({ userId, itemId, eventTs }: Interaction): string => JSON.stringify([userId, itemId, eventTs])

test('a history is the newest distinct liked items before the target, and never the target', () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 12 }), (rows) => {
      const builder = new SampleBuilder({ ...options, sequenceEvents: 1000 })
      const exposures = new Set<string>()
      const places = rows.map(exposureOf)
      rows.forEach((row, i) => {
        const sample = builder.add(row)
        const exposure = exposureOf(row)
        const liked = row.behaviors.some((behavior) => likes.has(behavior))
        // An act united with an exposure stands where the exposure arrived.
        const place = places.indexOf(exposure)
        const arrived = rows
          .slice(0, i)
          .filter((other, at) => other.eventTs < row.eventTs || places.indexOf(places[at]!) < place)
          .toSorted((a, b) => places.indexOf(exposureOf(a)) - places.indexOf(exposureOf(b)))
        if (!sample) {
          ok(!liked || exposures.has(exposure) || definition(arrived, row).length === 0)
        } else {
          deepStrictEqual(sample.history, definition(arrived, row))
          ok(!sample.history.includes(row.itemId))
        }
        if (liked) exposures.add(exposure)
      })
    }),
    { numRuns: 1000 },
  )
})
