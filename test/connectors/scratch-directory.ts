/** A directory of its own for a test, and removing it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Creates an empty directory under the system's place for temporary files. */
export async function scratchDirectory(): Promise<{ directory: string; remove(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-'))
  return { directory, remove: () => rm(directory, { recursive: true, force: true }) }
}
