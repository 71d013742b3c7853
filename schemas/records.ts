/**
 * The records that travel between hops, as the code holds them. Their bytes are the Avro schemas in `avro/`.
 * Invariant: a record that was decoded has passed every limit of `limits.ts`; no hop checks again.
 */

/** What one user did with one item at one time. */
export interface Interaction {
  readonly userId: string
  readonly itemId: string
  /** Event time, milliseconds since epoch. */
  readonly eventTs: number
  readonly behaviors: readonly string[]
  readonly surface?: string
  readonly dwellMs?: number
  readonly requestId?: string
}

/** One item's content vectors; a null value in the log (tombstone) deletes the item. */
export interface ItemContent {
  readonly itemId: string
  readonly eventTs: number
  /** Modality name to float32 vector; at least one. Absent modalities are simply not there. */
  readonly vectors: Readonly<Record<string, Float32Array>>
  readonly labels?: readonly string[]
  readonly authorId?: string
}

/** The recommender's vector for one ID of one entity kind (teacher). */
export interface IdEmbedding {
  /** Entity kind: `item`, `author`, `category`, … */
  readonly entity: string
  readonly entityId: string
  readonly eventTs: number
  readonly vector: Float32Array
  /** How many exposures stand behind the vector. */
  readonly exposures: number
}

/** A labelled or mined content pair. */
export interface ItemPair {
  readonly source: string
  readonly queryId: string
  readonly targetId: string
  readonly eventTs: number
  readonly score?: number
}

/** One event of a user's history as the changelog keeps it. */
export interface HistoryEvent {
  readonly itemId: string
  readonly eventTs: number
  readonly behaviors: readonly string[]
}

/** Changelog of per-user sequences: one chunk of consecutive events, oldest first. */
export interface HistoryChunk {
  readonly userId: string
  readonly chunk: number
  readonly events: readonly HistoryEvent[]
}

/** A sequence-to-item training row: ids and times, never content vectors. */
export interface DistillSample {
  readonly kind: 'sample'
  /** Which sample set it belongs to (`seq2item`, or one of the four filtered sets such as `seq2item/content-single`). */
  readonly source: string
  readonly userId: string
  readonly targetId: string
  /** Event time of the target. */
  readonly eventTs: number
  /** Item ids, oldest first, the target never among them. */
  readonly history: readonly string[]
  /** One byte per item of the history: what the filters ask of its behaviors. Absent when no filtered set is made. */
  readonly marks?: Uint8Array
}

/** Says in the log that a source partition will bring no earlier event time any more. */
export interface Watermark {
  readonly kind: 'watermark'
  readonly topic: string
  readonly partition: number
  /** No event before this time is expected; `Infinity` is written as the end mark. */
  readonly watermarkTs: number
  /** Next offset of the source partition to read. */
  readonly next: bigint
}

/** What was published for one item in one version. */
export interface ItemFeature {
  readonly itemId: string
  readonly view: string
  readonly version: number
  /** Native value bytes as the store holds them (`value-header.ts`). */
  readonly value: Uint8Array
  /** When the store acknowledged the write, milliseconds by this machine's clock. */
  readonly ackedTs: number
}

/** One move of the live pointer. One row per `seq`. */
export interface FeatureVersion {
  readonly seq: number
  readonly version: number
  readonly action: 'activate' | 'rollback'
  /** Store clock, milliseconds. */
  readonly at: number
  readonly commandId: string
  readonly head: string
  readonly codebook: string
  readonly trainedUntil: number
  readonly teacherUntil: number
  readonly codebookUntil: number
}

/** Commands, build tasks, progress and answers. `body` is JSON; each kind's shape stands in `pipeline/`. */
export interface ControlRecord {
  readonly kind: string
  /** Command or task id; an answer repeats it. */
  readonly id: string
  readonly at: number
  readonly body: string
}

/** One checksummed chunk of an artifact, for workers on other machines. */
export interface ArtifactChunk {
  readonly artifact: string
  readonly part: string
  readonly index: number
  readonly count: number
  readonly bytes: Uint8Array
}

/** A record that could not be processed, whole, with its reason. */
export interface DeadLetter {
  readonly topic: string
  /** -1 when the record never reached its topic. */
  readonly partition: number
  /** -1 when the record never reached its topic. */
  readonly offset: bigint
  readonly timestamp: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly (readonly [string, Uint8Array])[]
  /** An error code of `errors.ts`. */
  readonly code: string
  readonly reason: string
  readonly at: number
}
