/**
 * Whose ID embeddings taught a head, over all of its training: a head is only fairly asked to agree with those that did not.
 * Invariant: an item that taught is never taken for one that did not; the other mistake has a chance of items / 2^32, so a hash of
 * four bytes stands for an id and a checkpoint grows little.
 */
import { hashUnit } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

/** Hashes of item ids, ascending, each once. */
export type TaughtItems = Uint32Array

/** Of a head that no ID embedding taught. */
export const nobodyTaught: TaughtItems = new Uint32Array(0)

/** Never to be changed: checkpoints hold what it gave. */
const seed = 0x7461

function hashOf(itemId: string): number {
  return Math.floor(hashUnit(seed, itemId) * 2 ** 32)
}

/** Those that taught before and some more. */
export function withTaught(known: TaughtItems, itemIds: Iterable<string>): TaughtItems {
  const all = new Set(known)
  for (const itemId of itemIds) all.add(hashOf(itemId))
  return all.size === known.length ? known : Uint32Array.from(all).sort()
}

/** Whether the item's ID embedding may have taught the head. */
export function hasTaught(known: TaughtItems, itemId: string): boolean {
  const wanted = hashOf(itemId)
  let [from, until] = [0, known.length]
  while (from < until) {
    const middle = (from + until) >> 1
    if (known[middle]! < wanted) from = middle + 1
    else until = middle
  }
  return known[from] === wanted
}

/** Four bytes each, little-endian. */
export function encodeTaught(known: TaughtItems): Uint8Array {
  const bytes = Buffer.alloc(known.length * 4)
  known.forEach((hash, i) => bytes.writeUInt32LE(hash, i * 4))
  return bytes
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT */
export function decodeTaught(part: Uint8Array): TaughtItems {
  const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength)
  const known = new Uint32Array(Math.floor(bytes.length / 4))
  known.forEach((_, i) => (known[i] = bytes.readUInt32LE(i * 4)))
  const whole = bytes.length % 4 === 0 && known.every((hash, i) => i === 0 || hash > known[i - 1]!)
  if (whole) return known
  throw new SidestreamError(
    'SIDESTREAM_ARTIFACT_CORRUPT',
    'head checkpoint: the items that taught it cannot be read; take another checkpoint',
  )
}
