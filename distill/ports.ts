/**
 * The small interfaces through which distillation reads the outside; `pipeline/` adapts connectors to them.
 * Invariant: nothing here knows a driver, a path or a topic's configuration.
 */

/** Keyed bytes of one ingest lane, with its position. The state port of `connectors/` fits as it is. */
export interface SequenceStore {
  /** `result[i]` belongs to `keys[i]`. */
  getMany(keys: readonly string[]): (Uint8Array | undefined)[]
  /** Next offset to read of a source partition (`topic/partition`); undefined when nothing was ever committed. */
  position(name: string): bigint | undefined
}

/** What one transaction writes: the shape of the state port's commit. Deletes are applied after puts. */
export interface SequenceCommit {
  readonly puts: readonly (readonly [key: string, value: Uint8Array])[]
  readonly deletes: readonly string[]
  readonly positions: readonly (readonly [name: string, next: bigint])[]
}

/**
 * Similarities of many queries with all items: `out[q * items + i]` = dot product of query q and item i.
 * @param queries - row-major float32, shape [count, dim]
 * @returns float32, shape [count, items]; valid until the next call
 */
export type Similarity = (queries: Float32Array, count: number) => Promise<Float32Array> | Float32Array

/**
 * Binds a matrix of items, row-major float32 [items, dim], for repeated queries of at most `batch` rows.
 * `close` frees what was bound.
 */
export type OpenSimilarity = (
  items: Float32Array,
  dim: number,
  batch: number,
) => Promise<{ readonly similarity: Similarity; close(): Promise<void> }>
