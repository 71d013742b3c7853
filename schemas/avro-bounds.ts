/**
 * Walks an Avro body by its writer schema before it is decoded. avsc reads unchecked and looks at the end only, so a forged
 * count could make it loop or allocate for ever. Invariant: a body that passes is exactly one value of the schema, no count or
 * length in it is larger than the bytes that are there, and values that take no byte are bounded in number.
 */
import type { Type } from 'avsc'

/** Nested deeper than this is refused; only recursive schemas of other writers can get here. */
const maxDepth = 64
/** Values of no byte that one body may hold; a schema can claim any number of them. */
const maxEmpty = 100_000

/** avsc's types as far as they are walked; avsc's own typings leave some of these out. */
interface Walked {
  readonly typeName: string
  readonly size?: number
  readonly symbols?: readonly string[]
  readonly types?: readonly Walked[]
  readonly itemsType?: Walked
  readonly valuesType?: Walked
  readonly fields?: readonly { readonly type: Walked }[]
  readonly underlyingType?: Walked
}

/**
 * Checks that `bytes` from `start` to the end hold exactly one value of `type`.
 * @returns what is wrong, or undefined when nothing is
 */
export function findBodyFault(type: Type, bytes: Uint8Array, start: number): string | undefined {
  const walk = new BodyWalk(bytes, start)
  walk.value(type as unknown as Walked, 0)
  if (walk.fault === undefined && walk.pos !== bytes.length) return `${bytes.length - walk.pos} bytes are left over after the record`
  return walk.fault
}

/** Bytes of every value of a type, 0 when they differ or are none. */
function fixedBytes({ typeName, size }: Walked): number {
  switch (typeName) {
    case 'boolean':
      return 1
    case 'float':
      return 4
    case 'double':
      return 8
    case 'fixed':
      return size!
    default:
      return 0
  }
}

/** A cursor that remembers the first fault; after it every step does nothing. */
class BodyWalk {
  readonly #bytes: Uint8Array
  pos: number
  fault: string | undefined
  #empty = 0

  constructor(bytes: Uint8Array, pos: number) {
    this.#bytes = bytes
    this.pos = pos
  }

  value(type: Walked, depth: number): void {
    if (this.fault !== undefined) return
    if (depth > maxDepth) return this.#fail(`nested deeper than ${maxDepth} levels`)
    switch (type.typeName) {
      case 'null':
        return this.#countEmpty()
      case 'boolean':
        return this.#skip(1)
      case 'int':
      case 'long':
      case 'abstract:long':
        this.#long()
        return
      case 'float':
        return this.#skip(4)
      case 'double':
        return this.#skip(8)
      case 'bytes':
      case 'string':
        return this.#skip(this.#long())
      case 'fixed':
        if (type.size === 0) this.#countEmpty()
        return this.#skip(type.size!)
      case 'enum':
        this.#index(type.symbols!.length, 'enum symbol')
        return
      case 'union:wrapped':
      case 'union:unwrapped': {
        const branch = this.#index(type.types!.length, 'union branch')
        if (this.fault === undefined) this.value(type.types![branch]!, depth + 1)
        return
      }
      case 'array':
        return this.#blocks(type.itemsType!, false, depth)
      case 'map':
        return this.#blocks(type.valuesType!, true, depth)
      case 'record':
      case 'error':
        if (type.fields!.length === 0) this.#countEmpty()
        for (const field of type.fields!) this.value(field.type, depth + 1)
        return
      default:
        if (type.underlyingType !== undefined) return this.value(type.underlyingType, depth)
        this.#fail(`cannot read values of type ${type.typeName}`)
    }
  }

  #blocks(item: Walked, keyed: boolean, depth: number): void {
    const each = keyed ? 0 : fixedBytes(item)
    while (this.fault === undefined) {
      let count = this.#long()
      let size: number | undefined
      if (count < 0) {
        count = -count
        size = this.#long()
      }
      if (count === 0) return
      if (count > this.#bytes.length - this.pos) return this.#fail(`a list claims ${count} entries, more than there are bytes left`)
      const start = this.pos
      if (each > 0) this.#skip(count * each)
      else {
        for (let i = 0; i < count && this.fault === undefined; i++) {
          if (keyed) this.#skip(this.#long())
          this.value(item, depth + 1)
        }
      }
      // Whoever skips the block jumps by what it claims.
      if (size !== undefined && size !== this.pos - start) this.#fail(`a block of a list claims ${size} bytes and has ${this.pos - start}`)
    }
  }

  #countEmpty(): void {
    if (++this.#empty > maxEmpty) this.#fail(`more than ${maxEmpty} values without a byte`)
  }

  #index(length: number, what: string): number {
    const index = this.#long()
    if (this.fault === undefined && (index < 0 || index >= length)) this.#fail(`${what} ${index} does not exist`)
    return index
  }

  #skip(length: number): void {
    if (this.fault !== undefined) return
    if (length < 0) return this.#fail(`a length of ${length}`)
    if (length > this.#bytes.length - this.pos)
      return this.#fail(`truncated: ${length} bytes wanted at byte ${this.pos}, ${this.#bytes.length - this.pos} left`)
    this.pos += length
  }

  /** A zigzag varint as a double: exact where it is a count, length or index; only walked over elsewhere. */
  #long(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      if (this.pos >= this.#bytes.length) {
        this.#fail('truncated inside a number')
        return 0
      }
      const byte = this.#bytes[this.pos++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      scale *= 128
    }
    this.#fail('a number of more than ten bytes')
    return 0
  }

  #fail(fault: string): void {
    this.fault ??= fault
  }
}
