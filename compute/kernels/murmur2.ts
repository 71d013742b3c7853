/**
 * MurmurHash2 as Kafka's Java client computes it, so that our partitions and buckets are the ones every Kafka
 * producer chooses. Invariant: equal bytes give equal numbers on every machine; never change it.
 */

const multiplier = 0x5bd1e995
const seed = 0x9747b28c

/** 32-bit hash of `bytes` as a signed integer, equal to `org.apache.kafka.common.utils.Utils.murmur2`. */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length
  let hash = seed ^ length
  const end = length & ~3
  for (let i = 0; i < end; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    k = Math.imul(k, multiplier)
    k ^= k >>> 24
    hash = Math.imul(hash, multiplier) ^ Math.imul(k, multiplier)
  }
  const rest = length & 3
  if (rest === 3) hash ^= bytes[end + 2]! << 16
  if (rest >= 2) hash ^= bytes[end + 1]! << 8
  if (rest >= 1) hash = Math.imul(hash ^ bytes[end]!, multiplier)
  hash = Math.imul(hash ^ (hash >>> 13), multiplier)
  return hash ^ (hash >>> 15)
}

/** Partition (or bucket) of a key: `(murmur2(key) & 0x7fffffff) % partitions`, as Kafka's default partitioner. */
export function partitionForKey(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}
