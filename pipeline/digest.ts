/**
 * What makes two versions equal: item, semantic ID, flags, dtype, scale, vector bytes and event time of every row. Source,
 * checksum and clock fields are left out, since they depend on partitions and on when a run happened.
 */

import { createHash } from 'node:crypto'
import { valueHeader } from '../schemas/index.ts'
import type { Project } from './project.ts'

/** SHA-256 over the rows of all views of a version, in item order. Equal runs have equal digests. */
export async function versionDigest({ store, config }: Pick<Project, 'store' | 'config'>, version: number): Promise<string> {
  const hash = createHash('sha256')
  for (const view of Object.keys(config.views).sort()) {
    hash.update(`view ${view}\n`)
    for await (const entries of store.scan({ project: config.project, view, version })) {
      for (const { id, value } of entries) {
        const row = value.slice()
        row.fill(0, valueHeader.sourceAt, valueHeader.sourceAt + valueHeader.sourceBytes)
        row.fill(0, valueHeader.checksumAt, valueHeader.checksumAt + 4)
        hash.update(`${Buffer.byteLength(id)} ${id} ${row.length}\n`).update(row)
      }
    }
  }
  return hash.digest('hex')
}
