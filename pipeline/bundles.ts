/** Codebooks as artifacts. */

import { bundleFromParts } from '../semantic-ids/index.ts'
import type { Bundle } from '../semantic-ids/index.ts'
import type { Project } from './project.ts'

export function bundleName(version: number): string {
  return `codebooks/v${version}`
}

/** @throws SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT */
export async function readBundle({ artifacts }: Project, name: string): Promise<Bundle> {
  const { manifest, parts } = await artifacts.read(name)
  return bundleFromParts({ parts, about: manifest.about })
}
