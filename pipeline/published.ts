/** The moves of the live pointer as `feature-versions` tells them: the truth about what was live when. */

import type { FeatureVersion } from '../schemas/index.ts'
import type { Project } from './project.ts'

/** Every move of the live pointer as the log has it, each once. */
export async function publishedVersions({ log, codec }: Pick<Project, 'log' | 'codec'>): Promise<FeatureVersion[]> {
  const rows = new Map<number, FeatureVersion>()
  await log.read('feature-versions', (batch) => {
    for (const { value } of batch.records) {
      if (value === null) continue
      const row = codec.decode('feature-versions', value)
      rows.set(row.seq, row)
    }
  })
  return [...rows.values()].sort((a, b) => a.seq - b.seq)
}
