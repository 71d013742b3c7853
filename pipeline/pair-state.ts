/**
 * The owner's copy of item-pairs, for the sources of pairs that are configured, and what a round sees of it.
 * Invariant: a pair counts once per source, with its newest score as of the round's end; which pairs a round draws is a function of
 * (seed, round, pairs known), whatever their partition.
 */

import { hashUnit } from '../compute/index.ts'
import { checkEventTime, contentAsOf, pairRow } from '../distill/index.ts'
import type { TrainingRow } from '../distill/index.ts'
import type { Config, ItemPair } from '../schemas/index.ts'
import type { LogBatch, State } from '../connectors/index.ts'
import { entriesOf } from './as-of-state.ts'
import type { Arrival } from './as-of-state.ts'
import { asPoison } from './dead-letters.ts'
import type { PoisonRecord } from './dead-letters.ts'
import type { Project } from './project.ts'
import { isMark } from './record-headers.ts'

/** Of the state keys of pairs: then come source, query and target, with zero bytes between. */
export const pairPrefix = 'p\u0000'

/** Sources of pairs that take theirs from the topic; nobody reads it while there is none. */
export function pairSources({ training }: Pick<Config, 'training'>): string[] {
  return Object.entries(training.sources).flatMap(([name, { kind, from }]) => (kind === 'pairs' && from === 'topic' ? [name] : []))
}

export interface DecodedPairs {
  readonly arrivals: readonly Arrival[]
  readonly poison: readonly PoisonRecord[]
  /** Records of sources that are not configured. */
  readonly passed: number
}

/** Records of item-pairs as the owner takes them in. */
export function decodePairs(
  { codec, config }: Pick<Project, 'codec' | 'config'>,
  { topic, partition, records }: Pick<LogBatch, 'topic' | 'partition' | 'records'>,
): DecodedPairs {
  const wanted = new Set(pairSources(config))
  const arrivals: Arrival[] = []
  const poison: PoisonRecord[] = []
  let passed = 0
  for (const record of records) {
    if (isMark(record)) continue
    try {
      const value = record.value ?? new Uint8Array()
      const { source, queryId, targetId, eventTs } = codec.decode('item-pairs', value)
      if (!wanted.has(source)) {
        passed++
        continue
      }
      checkEventTime(eventTs, record.timestamp, config.interactions.maxFutureMs)
      const entry = { offset: record.offset, eventTs, value: codec.toOwn('item-pairs', value) } // the state is read without a registry
      arrivals.push({ id: [source, queryId, targetId].join('\u0000'), entry })
    } catch (error) {
      poison.push({ topic, partition, record, error: asPoison(error) })
    }
  }
  return { arrivals, poison, passed }
}

/** The pairs of some sources that were first seen in a window, as of its end: no training before its start knew them. */
export function* pairsFirstSeen(
  state: State,
  codec: Project['codec'],
  sources: readonly string[],
  { from, until }: { readonly from: number; readonly until: number },
): Iterable<ItemPair> {
  for (const source of sources) {
    for (const [, entries] of entriesOf(state, `${pairPrefix}${source}\u0000`)) {
      const value = contentAsOf(entries, until)?.value
      if (contentAsOf(entries, from) === undefined && value !== undefined) yield codec.decode('item-pairs', value)
    }
  }
}

export interface PairDraw {
  readonly source: string
  readonly round: number
  readonly endTs: number
  readonly seed: number
  /** Pairs wanted, the most. */
  readonly limit: number
}

/** Pairs of a source as of a round's end, at most `limit`, drawn and ordered by hash(seed, round, pair). */
export function pairsAsOf(state: State, codec: Project['codec'], { source, round, endTs, seed, limit }: PairDraw): TrainingRow[] {
  let drawn: { readonly order: number; readonly value: Uint8Array; readonly key: string }[] = []
  const inOrder = (): typeof drawn => drawn.sort((a, b) => a.order - b.order || (a.key < b.key ? -1 : 1)).slice(0, limit)
  for (const [key, entries] of entriesOf(state, `${pairPrefix}${source}\u0000`)) {
    const value = contentAsOf(entries, endTs)?.value
    if (value === undefined) continue
    drawn.push({ order: hashUnit(seed, `${round}/${source}/${key}`), value, key })
    if (drawn.length > 2 * limit + 1024) drawn = inOrder()
  }
  return inOrder().map(({ value }) => pairRow(codec.decode('item-pairs', value)))
}
