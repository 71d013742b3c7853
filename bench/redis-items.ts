/** Items for benches of the store: ids as shops have them, values with a native header. */
import { valueHeader } from '../schemas/index.ts'

export interface RedisItems {
  /** Id of item `i`, 0 to about 10^9. */
  idOf(i: number): string
  /** Entries of items `first`… with source `offset`, in one arena. */
  entriesOf(first: number, count: number, offset: number): { id: string; value: Buffer }[]
}

/** @param valueBytes - bytes of every value, at least a header */
export function redisItems(valueBytes: number): RedisItems {
  const idOf = (i: number): string => `item-${(i * 7_919) % 1_000_000_007}`
  return {
    idOf,
    entriesOf: (first, count, offset) => {
      const arena = Buffer.alloc(count * valueBytes, 0xa5)
      return Array.from({ length: count }, (_, i) => {
        const value = arena.subarray(i * valueBytes, (i + 1) * valueBytes)
        value.fill((first + i) & 255, valueHeader.bytes)
        value.writeUInt32BE(0, valueHeader.streamAt)
        value.writeBigUInt64BE(BigInt(offset), valueHeader.offsetAt)
        return { id: idOf(first + i), value }
      })
    },
  }
}
