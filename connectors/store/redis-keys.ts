/**
 * Names of everything the Redis driver keeps, and the rule that spreads items over buckets.
 * Invariant: braces are the Cluster hash tag; all keys of a project but its values are in one slot, and a bucket is one slot.
 *
 * | key | type | holds |
 * |---|---|---|
 * | `ss:{<project>/<view>/<bucket>}:<version>` | hash | values by item id |
 * | `ss:{<project>}:live` | string | JSON: version, epoch, seq |
 * | `ss:{<project>}:history` | list | JSON of pointer change seq at index seq - 1 |
 * | `ss:{<project>}:commands` | hash | JSON of a pointer change by the id of its command |
 * | `ss:{<project>}:version:<version>` | string | version record |
 * | `ss:{<project>}:versions` | sorted set | numbers that have a record |
 * | `ss:{<project>}:buckets:<version>` | hash | number of buckets by view, written once by the first write |
 * | `ss:{<project>}:pin:<version>:<holder>` | string with TTL | a lease |
 * | `ss:{<project>}:pins:<version>` | set | holders that may have a lease |
 */

import { partitionForKey } from '../../compute/index.ts'
import { limits } from '../../schemas/index.ts'

export const redisKeys = {
  bucket: (project: string, view: string, bucket: number, version: number): string => `ss:{${project}/${view}/${bucket}}:${version}`,
  live: (project: string): string => `ss:{${project}}:live`,
  history: (project: string): string => `ss:{${project}}:history`,
  commands: (project: string): string => `ss:{${project}}:commands`,
  version: (project: string, version: number): string => `ss:{${project}}:version:${version}`,
  versions: (project: string): string => `ss:{${project}}:versions`,
  buckets: (project: string, version: number): string => `ss:{${project}}:buckets:${version}`,
  pin: (project: string, version: number, holder: string): string => `ss:{${project}}:pin:${version}:${holder}`,
  pins: (project: string, version: number): string => `ss:{${project}}:pins:${version}`,
} as const

const scratch = Buffer.allocUnsafe(limits.idBytes)
/** `views[n]`: the first n bytes of `scratch`. */
const views = Array.from({ length: limits.idBytes + 1 }, (_, bytes) => scratch.subarray(0, bytes))

/**
 * Bucket of an item: `(murmur2(utf8 id) & 0x7fffffff) % buckets`.
 * @param id - at most `limits.idBytes` of UTF-8
 */
export function bucketOf(id: string, buckets: number): number {
  const { length } = id
  for (let i = 0; i < length; i++) {
    const code = id.charCodeAt(i)
    if (code > 0x7f) return partitionForKey(views[scratch.write(id)]!, buckets)
    scratch[i] = code
  }
  return partitionForKey(views[length]!, buckets)
}
