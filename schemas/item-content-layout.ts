/**
 * Finds the fields of an `item-content` body that our own writers wrote, without making objects: the version writer reads
 * hundreds of thousands of these a second and copies each vector once, to where it is used.
 * Invariant: accepts a body exactly when avsc with the same schema and the checks of `record-mapping.ts` accept it.
 */
import { SidestreamError } from './errors.ts'
import { checkText, checkTs, invalid, invalidId } from './field-checks.ts'
import { limits } from './limits.ts'

/** Positions of one body's fields, used again for the next body. */
export class ItemContentLayout {
  #bytes: Buffer = Buffer.alloc(0)
  #pos = 0
  idStart = 0
  idEnd = 0
  eventTs = 0
  /** Modalities found; names and vectors lie between the starts and ends below, byte positions. */
  modalities = 0
  readonly nameStart = new Int32Array(limits.modalities)
  readonly nameEnd = new Int32Array(limits.modalities)
  readonly vectorStart = new Int32Array(limits.modalities)
  readonly vectorEnd = new Int32Array(limits.modalities)
  labels = 0
  readonly labelStart = new Int32Array(limits.labels)
  readonly labelEnd = new Int32Array(limits.labels)
  authorStart = 0
  /** Equal to `authorStart` when there is no author. */
  authorEnd = 0

  /**
   * Finds the fields of the body that starts at `start` and fills the rest of `bytes`; vectors are not looked into.
   * @throws SIDESTREAM_RECORD_UNDECODABLE, SIDESTREAM_ID_INVALID, SIDESTREAM_RECORD_INVALID
   */
  scan(bytes: Buffer, start: number): void {
    this.#bytes = bytes
    this.#pos = start
    this.#blockEnd = -1
    this.idEnd = this.#span()
    this.idStart = this.#spanStart
    const ts = this.#long()
    this.#vectors()
    this.#labels()
    this.authorStart = this.authorEnd = 0
    const branch = this.#long()
    if (branch === 1) {
      this.authorEnd = this.#span()
      this.authorStart = this.#spanStart
    } else if (branch !== 0) throw undecodable(`union branch ${branch} does not exist`)
    if (this.#pos !== bytes.length) throw undecodable(`${bytes.length - this.#pos} bytes are left over after the record`)
    checkIdBytes('itemId', this.idEnd - this.idStart)
    this.eventTs = checkTs('eventTs', ts)
    for (let i = 0; i < this.modalities; i++) this.#checkText('the name of a modality', this.nameStart[i]!, this.nameEnd[i]!)
    for (let i = 0; i < this.labels; i++) this.#checkText('labels', this.labelStart[i]!, this.labelEnd[i]!)
    if (branch === 1) checkIdBytes('authorId', this.authorEnd - this.authorStart)
  }

  /** The fields as avsc would give them; vectors are views of `bytes`, not copies. */
  view(bytes: Buffer): Record<string, unknown> {
    const vectors: Record<string, Uint8Array> = {}
    for (let i = 0; i < this.modalities; i++) {
      const name = bytes.toString('utf8', this.nameStart[i]!, this.nameEnd[i]!)
      if (name !== '__proto__') vectors[name] = bytes.subarray(this.vectorStart[i]!, this.vectorEnd[i]!)
    }
    const labels: string[] = []
    for (let i = 0; i < this.labels; i++) labels.push(bytes.toString('utf8', this.labelStart[i]!, this.labelEnd[i]!))
    return {
      itemId: bytes.toString('utf8', this.idStart, this.idEnd),
      eventTs: this.eventTs,
      vectors,
      labels,
      authorId: this.authorEnd > this.authorStart ? bytes.toString('utf8', this.authorStart, this.authorEnd) : null,
    }
  }

  #vectors(): void {
    let found = 0
    for (let left = this.#block(); left > 0; left = this.#block()) {
      for (; left > 0; left--) {
        const nameEnd = this.#span()
        const nameStart = this.#spanStart
        const vectorEnd = this.#span()
        if (found < limits.modalities) {
          this.nameStart[found] = nameStart
          this.nameEnd[found] = nameEnd
          this.vectorStart[found] = this.#spanStart
          this.vectorEnd[found] = vectorEnd
        }
        found++
      }
    }
    if (found > limits.modalities) throw invalid('vectors', `hold ${found} modalities, at most ${limits.modalities} are allowed`)
    this.modalities = found
  }

  #labels(): void {
    let found = 0
    for (let left = this.#block(); left > 0; left = this.#block()) {
      for (; left > 0; left--) {
        const end = this.#span()
        if (found < limits.labels) {
          this.labelStart[found] = this.#spanStart
          this.labelEnd[found] = end
        }
        found++
      }
    }
    if (found > limits.labels) throw invalid('labels', `has ${found} entries, at most ${limits.labels} are allowed`)
    this.labels = found
  }

  /** Where the block that is being read must end; -1 when it does not say. */
  #blockEnd = -1

  /** Number of entries of the next block of a list, 0 at the end of the list. */
  #block(): number {
    if (this.#blockEnd >= 0 && this.#blockEnd !== this.#pos) throw undecodable('a block of a list has another size than it claims')
    this.#blockEnd = -1
    let count = this.#long()
    if (count < 0) {
      count = -count
      const size = this.#long()
      if (size < 0) throw undecodable(`a block of a list claims ${size} bytes`)
      this.#blockEnd = this.#pos + size
    }
    if (count > this.#bytes.length - this.#pos) throw undecodable(`a list claims ${count} entries, more than there are bytes left`)
    return count
  }

  #spanStart = 0

  /** Steps over a text or bytes; it starts at `#spanStart` and ends at the returned position. */
  #span(): number {
    const length = this.#long()
    const left = this.#bytes.length - this.#pos
    if (length < 0 || length > left) throw undecodable(`truncated: ${length} bytes wanted at byte ${this.#pos}, ${left} left`)
    this.#spanStart = this.#pos
    this.#pos += length
    return this.#pos
  }

  /** A zigzag varint, exact up to 2^53. */
  #long(): number {
    const bytes = this.#bytes
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      if (this.#pos >= bytes.length) throw undecodable('truncated inside a number')
      const byte = bytes[this.#pos++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      scale *= 128
    }
    throw undecodable('a number of more than ten bytes')
  }

  /** The checks of `checkText`; a text is only made when it is not plain ASCII. */
  #checkText(field: string, start: number, end: number): void {
    const bytes = this.#bytes
    let isPlain = end > start && end - start <= limits.textBytes
    for (let i = start; i < end && isPlain; i++) isPlain = bytes[i]! < 0x80
    if (!isPlain) checkText(field, bytes.toString('utf8', start, end))
  }
}

function checkIdBytes(field: string, bytes: number): void {
  if (bytes === 0) throw invalidId(field, 'is empty')
  if (bytes > limits.idBytes) throw invalidId(field, `has ${bytes} bytes of UTF-8, at most ${limits.idBytes} are allowed`)
}

function undecodable(what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_RECORD_UNDECODABLE', `not a record of schema sidestream.ItemContent: ${what}`)
}
