/**
 * Reads `item-content` values of our own writers straight into flat arrays that the caller owns; no record objects, one copy
 * per vector. Invariant: a poison record never stops the batch; its row is zero, marked, and has its error.
 */
import { SidestreamError, isPoison } from './errors.ts'
import { checkDim, checkId, checkVectorFinite } from './field-checks.ts'
import type { ItemContentLayout } from './item-content-layout.ts'
import { noVector, unevenVector, unknownModality } from './record-mapping.ts'
import type { ItemContent } from './records.ts'

/** A configured modality: its name in the records and its dimension. */
export interface Modality {
  readonly name: string
  readonly dim: number
}

/** State of one row of a batch. */
export const rowStates = { content: 0, tombstone: 1, poison: 2 } as const

/** Rows of one batch, used again for the next. Rows beyond `count` are leftovers. */
export interface ItemContentBatch {
  readonly modalities: readonly Modality[]
  readonly capacity: number
  /** Rows of the last decode. */
  count: number
  /** [capacity]; '' for tombstones and poison records: their id is the log record's key. */
  readonly ids: string[]
  /** Event times, milliseconds since epoch, [capacity]. */
  readonly eventTs: Float64Array
  /** One of `rowStates`, [capacity]. */
  readonly states: Uint8Array
  /** One array per modality, row-major float32 [capacity, dim]; zero where the modality is absent. */
  readonly vectors: readonly Float32Array[]
  /** One array per modality, 1 where it is present, [capacity]. */
  readonly present: readonly Uint8Array[]
  /** What was wrong with each poison row, by row. */
  readonly errors: Map<number, SidestreamError>
}

/** Options of a batch decode. */
export interface BatchDecodeOptions {
  /**
   * What to do with a modality that is not configured: leave it out, or refuse the record.
   * @default 'drop'
   */
  readonly unknownModality?: 'drop' | 'refuse'
}

/** Arrays for up to `capacity` rows of the given modalities. */
export function createItemContentBatch(capacity: number, modalities: readonly Modality[]): ItemContentBatch {
  return {
    modalities,
    capacity,
    count: 0,
    ids: Array.from({ length: capacity }, () => ''),
    eventTs: new Float64Array(capacity),
    states: new Uint8Array(capacity),
    vectors: modalities.map(({ dim }) => new Float32Array(capacity * dim)),
    present: modalities.map(() => new Uint8Array(capacity)),
    errors: new Map(),
  }
}

/** What the batch reader needs of the codec. */
export interface BatchSource {
  /** Finds the fields of a value of our own schema; false when another schema wrote it. Throws poison errors. */
  readonly scan: (value: Buffer, layout: ItemContentLayout) => boolean
  /** Decodes a value that another schema wrote. Throws poison errors. */
  readonly decode: (value: Uint8Array) => ItemContent
}

/**
 * Fills `out` with `values`; `out.count` becomes `values.length`.
 * @param values - framed record values in log order; null is a tombstone
 * @throws SIDESTREAM_SHAPE_MISMATCH when the values do not fit `out`
 */
export function fillItemContentBatch(
  values: readonly (Uint8Array | null)[],
  source: BatchSource,
  layout: ItemContentLayout,
  out: ItemContentBatch,
  { unknownModality: onUnknown = 'drop' }: BatchDecodeOptions,
): void {
  if (values.length > out.capacity) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${values.length} values do not fit a batch of ${out.capacity} rows`)
  }
  const fill = new BatchFill(out, onUnknown === 'refuse')
  out.errors.clear()
  out.count = values.length
  for (let row = 0; row < values.length; row++) {
    const value = values[row]!
    fill.start(row)
    if (value === null) {
      fill.clearAbsent(row)
      out.states[row] = rowStates.tombstone
      continue
    }
    try {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      if (source.scan(bytes, layout)) fill.fromLayout(row, bytes, layout)
      else fill.fromRecord(row, source.decode(value))
      fill.clearAbsent(row)
    } catch (error) {
      if (!isPoison(error)) throw error
      fill.start(row)
      fill.clearAbsent(row)
      out.states[row] = rowStates.poison
      out.errors.set(row, error)
    }
  }
}

/** Writes rows of one batch. */
class BatchFill {
  readonly #out: ItemContentBatch
  readonly #refuseUnknown: boolean
  readonly #names: Buffer[]
  readonly #vectorBytes: Buffer[]
  /** Last modality that matched; records name them in the same order, so the next one is tried first. */
  #lastMatch = -1

  constructor(out: ItemContentBatch, refuseUnknown: boolean) {
    this.#out = out
    this.#refuseUnknown = refuseUnknown
    this.#names = out.modalities.map(({ name }) => Buffer.from(name, 'utf8'))
    this.#vectorBytes = out.vectors.map((vector) => Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength))
  }

  /** Clears what a row held before, but for its vectors. */
  start(row: number): void {
    const { ids, eventTs, states, present } = this.#out
    ids[row] = ''
    eventTs[row] = 0
    states[row] = rowStates.content
    for (let m = 0; m < present.length; m++) present[m]![row] = 0
  }

  /** Clears the vectors that a row does not have. */
  clearAbsent(row: number): void {
    const { present, vectors, modalities } = this.#out
    for (let m = 0; m < modalities.length; m++) {
      const { dim } = modalities[m]!
      if (present[m]![row] === 0) vectors[m]!.fill(0, row * dim, (row + 1) * dim)
    }
  }

  fromLayout(row: number, bytes: Buffer, layout: ItemContentLayout): void {
    const out = this.#out
    const id = checkId('itemId', bytes.toString('utf8', layout.idStart, layout.idEnd))
    if (layout.authorEnd > layout.authorStart) checkId('authorId', bytes.toString('utf8', layout.authorStart, layout.authorEnd))
    let found = 0
    for (let i = 0; i < layout.modalities; i++) {
      const nameStart = layout.nameStart[i]!
      const nameEnd = layout.nameEnd[i]!
      const m = this.#match(bytes, nameStart, nameEnd)
      if (m < 0) {
        if (this.#refuseUnknown) throw this.#unknown(bytes.toString('utf8', nameStart, nameEnd))
        continue
      }
      this.#copyVector(row, m, bytes, layout.vectorStart[i]!, layout.vectorEnd[i]!)
      found++
    }
    if (found === 0) throw noVector()
    out.ids[row] = id
    out.eventTs[row] = layout.eventTs
  }

  fromRecord(row: number, record: ItemContent): void {
    const { modalities, present, vectors, ids, eventTs } = this.#out
    for (let m = 0; m < modalities.length; m++) {
      const { name, dim } = modalities[m]!
      const vector = record.vectors[name]
      if (vector === undefined) continue
      vectors[m]!.set(vector, row * dim)
      present[m]![row] = 1
    }
    ids[row] = record.itemId
    eventTs[row] = record.eventTs
  }

  #copyVector(row: number, m: number, bytes: Buffer, start: number, end: number): void {
    const { name, dim } = this.#out.modalities[m]!
    const length = end - start
    if (length !== dim * 4) {
      if (length % 4 !== 0) throw unevenVector(`vectors.${name}`, length)
      checkDim(`vectors.${name}`, length / 4, dim)
    }
    bytes.copy(this.#vectorBytes[m]!, row * dim * 4, start, end)
    checkVectorFinite(name, this.#out.vectors[m]!, row * dim, (row + 1) * dim)
    this.#out.present[m]![row] = 1
  }

  #match(bytes: Buffer, start: number, end: number): number {
    const count = this.#names.length
    for (let step = 1; step <= count; step++) {
      const m = (this.#lastMatch + step) % count
      const name = this.#names[m]!
      if (name.length !== end - start) continue
      let i = 0
      while (i < name.length && name[i] === bytes[start + i]) i++
      if (i === name.length) return (this.#lastMatch = m)
    }
    return -1
  }

  #unknown(name: string): SidestreamError {
    return unknownModality(
      name,
      this.#out.modalities.map((modality) => modality.name),
    )
  }
}
