/**
 * Where downloaded jars, prepared brokers and running servers live: `SIDESTREAM_CACHE`, else `.cache/sidestream` of the home folder.
 * Invariant: what stands under its final name is complete; it is prepared beside it and renamed.
 */
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

import { lockDirectory } from '../../connectors/index.ts'
import { SidestreamError } from '../../schemas/index.ts'

/** The cache directory of this user; it may be removed at any time when no server runs. */
export function cacheDirectory(): string {
  return process.env['SIDESTREAM_CACHE'] || join(homedir(), '.cache', 'sidestream')
}

/** Runs `work` while no other process holds `directory`; waits for its turn up to `deadlineMs`. */
export async function withLock<T>(directory: string, work: () => Promise<T>, deadlineMs = 300_000): Promise<T> {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    let lock
    try {
      lock = lockDirectory(directory)
    } catch (error) {
      const inUse = error instanceof SidestreamError && error.code === 'SIDESTREAM_DIRECTORY_IN_USE'
      if (!inUse || Date.now() > deadline) throw error
      await pause(100)
      continue
    }
    try {
      return await work()
    } finally {
      lock.release()
    }
  }
}

/** Makes `target` by letting `prepare` fill a draft beside it; does nothing when it exists. One process prepares, the others wait. */
export async function prepared(target: string, prepare: (draft: string) => Promise<void>): Promise<string> {
  if (await exists(target)) return target
  const parent = join(target, '..')
  await mkdir(parent, { recursive: true })
  return withLock(parent, async () => {
    if (await exists(target)) return target
    const draft = await mkdtemp(`${target}.draft-`)
    try {
      await prepare(draft)
      await rename(draft, target)
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
    return target
  })
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
