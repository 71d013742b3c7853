/**
 * Ingest's one step: a batch of one source partition in, samples and one transaction of history chunks out.
 * Invariant: samples and bytes depend on the interactions and their order alone, not on how they were batched; the
 * position moves in the same commit as the histories, so a batch that comes twice changes nothing.
 */
import type { DistillSample, HistoryChunk, HistoryEvent, Interaction } from '../schemas/index.ts'
import type { SequenceCommit, SequenceStore } from './ports.ts'
import { arrive, sampleDefaults } from './samples.ts'
import type { SampleOptions } from './samples.ts'
import { chunkKey, decodeChunk, decodeTail, encodeChunk, encodeTail, tailKey } from './sequence-codec.ts'
import { UserSequence } from './sequence.ts'

export interface InteractionBatch {
  /** Position name of the source partition: `topic/partition`. */
  readonly source: string
  /** Decoded interactions, ascending offsets; records that were poison are simply missing. */
  readonly rows: readonly { readonly offset: bigint; readonly value: Interaction }[]
  /** Position after the batch. */
  readonly next: bigint
  /** Rows before this offset change histories only: their samples were made before. @default 0 */
  readonly samplesFrom?: bigint
}

/** What happened to the rows of a batch; `rows` = `skipped + duplicates + expired + merged + added`. */
export interface IngestCounts {
  rows: number
  /** Below the stored position: applied by an earlier run. */
  skipped: number
  /** Same user, item, event time and no new behavior. */
  duplicates: number
  /** Older than everything in a full history. */
  expired: number
  /** More behaviors for an exposure that was there. */
  merged: number
  added: number
  /** Added behind a newer event of the same user. */
  outOfOrder: number
  samples: number
}

export interface AppliedInteractions {
  /** In source order; to be acknowledged by the log before `commit` is applied. */
  readonly samples: readonly DistillSample[]
  /** One transaction: histories and position. */
  readonly commit: SequenceCommit
  /** The same chunks for the changelog, and the ones that fell out (tombstones). */
  readonly changed: readonly HistoryChunk[]
  readonly removed: readonly { readonly userId: string; readonly chunk: number }[]
  readonly counts: IngestCounts
}

/** Applies a batch to the histories in `store` without writing: a user touched many times is read and written once. */
export function applyInteractions(batch: InteractionBatch, store: SequenceStore, options: SampleOptions): AppliedInteractions {
  const position = store.position(batch.source) ?? 0n
  const counts = { rows: batch.rows.length, skipped: 0, duplicates: 0, expired: 0, merged: 0, added: 0, outOfOrder: 0, samples: 0 }
  const rows = batch.rows.filter(({ offset }) => offset >= position)
  counts.skipped = batch.rows.length - rows.length
  const users = loadSequences(
    new Set(rows.map(({ value }) => value.userId)),
    store,
    options.sequenceEvents ?? sampleDefaults.sequenceEvents,
  )
  const samples: DistillSample[] = []
  const samplesFrom = batch.samplesFrom ?? 0n
  for (const { offset, value } of rows) {
    const sequence = users.get(value.userId)!
    const { insertion, sample } = arrive(sequence, value, options)
    if (insertion.outcome === 'duplicate') counts.duplicates++
    else counts[insertion.outcome]++
    if (insertion.outcome === 'added' && insertion.index < sequence.events.length - 1) counts.outOfOrder++
    if (sample && offset >= samplesFrom) samples.push(sample)
  }
  counts.samples = samples.length
  const next = batch.next > position ? batch.next : position
  return { samples, ...changesOf(users, [[batch.source, next]]), counts }
}

/** Reads the histories of some users: two batched reads, tails first. Unknown users get an empty history. */
export function loadSequences(userIds: ReadonlySet<string>, store: SequenceStore, limit: number): Map<string, UserSequence> {
  const ids = [...userIds]
  const tails = store.getMany(ids.map(tailKey)).map((bytes) => bytes && decodeTail(bytes))
  const older: string[] = []
  tails.forEach((tail, i) => {
    for (let chunk = tail?.firstChunk ?? 0; chunk < (tail?.chunk ?? 0); chunk++) older.push(chunkKey(ids[i]!, chunk))
  })
  const chunks = older.length > 0 ? store.getMany(older) : []
  const sequences = new Map<string, UserSequence>()
  let next = 0
  tails.forEach((tail, i) => {
    const events: HistoryEvent[] = []
    for (let chunk = tail?.firstChunk ?? 0; chunk < (tail?.chunk ?? 0); chunk++) {
      // An absent chunk reads as corrupt: a history with a hole would give other samples than the log does.
      for (const event of decodeChunk(chunks[next++] ?? new Uint8Array())) events.push(event)
    }
    for (const event of tail?.events ?? []) events.push(event)
    sequences.set(ids[i]!, new UserSequence(limit, tail?.firstChunk ?? 0, events))
  })
  return sequences
}

/**
 * The state entries of one user's history from its changelog: how a worker that takes over a partition fills its state.
 * @param chunks - the user's live chunks in any order, each number once, no hole
 */
export function restoreSequence(chunks: readonly HistoryChunk[]): SequenceCommit['puts'] {
  const ordered = [...chunks].sort((a, b) => a.chunk - b.chunk)
  const firstChunk = ordered[0]?.chunk ?? 0
  return ordered.map((chunk, i) => chunkPut(chunk, firstChunk, i === ordered.length - 1))
}

function chunkPut({ userId, chunk, events }: HistoryChunk, firstChunk: number, isTail: boolean): readonly [string, Uint8Array] {
  if (isTail) return [tailKey(userId), encodeTail({ firstChunk, chunk, events: [...events] })]
  return [chunkKey(userId, chunk), encodeChunk(events)]
}

function changesOf(
  users: ReadonlyMap<string, UserSequence>,
  positions: SequenceCommit['positions'],
): Pick<AppliedInteractions, 'commit' | 'changed' | 'removed'> {
  const puts: (readonly [string, Uint8Array])[] = []
  const deletes: string[] = []
  const changed: HistoryChunk[] = []
  const removed: { userId: string; chunk: number }[] = []
  for (const [userId, sequence] of users) {
    for (const chunk of sequence.changedChunks()) {
      const record = { userId, chunk, events: sequence.chunk(chunk) }
      changed.push(record)
      puts.push(chunkPut(record, sequence.firstChunk, chunk === sequence.tail))
    }
    for (const chunk of sequence.removedChunks()) {
      removed.push({ userId, chunk })
      deletes.push(chunkKey(userId, chunk))
    }
  }
  return { commit: { puts, deletes, positions }, changed, removed }
}
