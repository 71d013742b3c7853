/**
 * The owner's copy of distill-samples: rows per round, when each item was first liked, and the round clock, with the log
 * position in the same transaction.
 * Invariant: the clock in a commit reflects exactly the rows and watermarks committed up to it, so a restart goes on as if
 * there had been none. Rows stay after training for the judge, until `forget`.
 */

import { RoundClock, sampleKey } from '../distill/index.ts'
import type { RoundRow, RoundSnapshot } from '../distill/index.ts'
import type { Codec, DistillSample } from '../schemas/index.ts'
import type { State, StateCommit } from '../connectors/index.ts'
import { floatBytes, readFloat } from './bytes.ts'

const clockKey = 'clock'
const trainedKey = 'trained'
const sincePrefix = 's\u0000'
const sinceEnd = 's\u0001'
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Event times are never negative, so neither are rounds; padded, text order is number order. */
export const roundText = (round: number): string => String(Math.max(0, round)).padStart(12, '0')
const rowPrefix = (round: number): string => `r\u0000${roundText(round)}\u0000`
const rowKey = (round: number, key: string, waited: boolean): string => `${rowPrefix(round)}${key}${waited ? '/waited' : ''}`

/** The clock as it was committed, or a new one, over `sources`. */
export function loadClock(state: State, sources: readonly string[], roundMs: number): RoundClock {
  const stored = state.get(clockKey)
  if (stored === undefined) return new RoundClock(sources, roundMs)
  return RoundClock.restore(JSON.parse(decoder.decode(stored)) as RoundSnapshot, sources)
}

export function clockPut(clock: RoundClock): [string, Uint8Array] {
  return [clockKey, encoder.encode(JSON.stringify(clock.snapshot()))]
}

/** Last round whose training is done; -Infinity before the first. */
export function trainedRound(state: State): number {
  const stored = state.get(trainedKey)
  return stored === undefined ? -Infinity : readFloat(stored)
}

export function trainedPut(round: number): [string, Uint8Array] {
  return [trainedKey, floatBytes(round)]
}

/** How many rounds back a late sample is looked for. It comes twice only after a crash, soon after the first time. */
const lateRounds = 24

/** State entries of samples that arrive; each joins its round at the clock. A sample that is there already changes nothing. */
export function samplePuts(
  state: State,
  clock: RoundClock,
  codec: Codec,
  samples: readonly DistillSample[],
): Required<Pick<StateCommit, 'puts'>>['puts'] {
  const puts = new Map<string, Uint8Array>()
  const stands = (round: number, key: string): boolean => {
    const name = rowKey(round, key, false)
    return puts.has(name) || state.get(name) !== undefined
  }
  /** A sample that was late stands in the round that was open then. */
  const standsLate = (own: number, key: string): boolean => {
    for (let round = clock.closed + 1; round > Math.max(own, clock.closed + 1 - lateRounds); round--) if (stands(round, key)) return true
    return false
  }
  for (const sample of samples) {
    const key = sampleKey(sample)
    const own = clock.roundOf(sample.eventTs)
    if (stands(own, key) || standsLate(own, key)) continue
    const { round } = clock.join(sample.eventTs)
    puts.set(rowKey(round, key, false), codec.encode('distill-samples', sample))
    const since = sincePrefix + sample.targetId
    const known = puts.get(since) ?? state.get(since)
    if (known === undefined || readFloat(known) > sample.eventTs) puts.set(since, floatBytes(sample.eventTs))
  }
  return [...puts]
}

/** State entries of rows that wait one more round. */
export function waitingPuts(clock: RoundClock, codec: Codec, round: number, rows: readonly RoundRow[]): [string, Uint8Array][] {
  return rows.map(({ key, sample }) => {
    clock.wait(round)
    return [rowKey(round, key, true), codec.encode('distill-samples', sample)]
  })
}

/** Rows of one round, in key order. */
export function roundRows(state: State, codec: Codec, round: number): RoundRow[] {
  return [...state.range(rowPrefix(round), rowPrefix(round + 1))].map(([key, value]) => {
    const waited = key.endsWith('/waited')
    const name = key.slice(rowPrefix(round).length, waited ? -'/waited'.length : undefined)
    return { key: name, waited, sample: codec.decode('distill-samples', value) as DistillSample }
  })
}

/** Own rows of a round (not those that waited) in key order, from a key on. */
export function* rowKeysFrom(state: State, round: number, key: string): Generator<readonly [key: string, value: Uint8Array]> {
  const prefix = rowPrefix(round)
  for (const [stored, value] of state.range(prefix + key, rowPrefix(round + 1))) {
    if (!stored.endsWith('/waited')) yield [stored.slice(prefix.length), value]
  }
}

/** Samples of the rounds `[from, until)`, each once, by (event time, key). */
export function samplesOfRounds(state: State, codec: Codec, from: number, until: number): DistillSample[] {
  const rows = new Map<string, DistillSample>()
  for (const [key, value] of state.range(rowPrefix(from), rowPrefix(until))) {
    const name = key.slice(rowPrefix(from).length).replace('/waited', '')
    if (!rows.has(name)) rows.set(name, codec.decode('distill-samples', value) as DistillSample)
  }
  return [...rows].sort(([a, { eventTs: x }], [b, { eventTs: y }]) => x - y || (a < b ? -1 : 1)).map(([, sample]) => sample)
}

/** Samples of the rounds `[from, until)` by their target. */
export function targetCounts(state: State, codec: Codec, from: number, until: number): Map<string, number> {
  const counts = new Map<string, number>()
  for (const [key, value] of state.range(rowPrefix(from), rowPrefix(until))) {
    if (key.endsWith('/waited')) continue // stands in its own round, too
    const { targetId } = codec.decode('distill-samples', value) as DistillSample
    counts.set(targetId, (counts.get(targetId) ?? 0) + 1)
  }
  return counts
}

/** When each item was first liked, milliseconds. */
export function* firstLiked(state: State): Iterable<readonly [itemId: string, eventTs: number]> {
  for (const [key, value] of state.range(sincePrefix, sinceEnd)) yield [key.slice(sincePrefix.length), readFloat(value)]
}

/** Keys of rows of rounds before `round`: no judge will ask for them any more. */
export function rowsBefore(state: State, round: number): string[] {
  return [...state.range('r\u0000', rowPrefix(round))].map(([key]) => key)
}
