/**
 * Directories that are written to.
 * Invariant: what cannot be made is told at once. Node's recursive mkdir is not used: it never ends where a system says "no such
 * directory" of one that cannot be made below a directory that is there, as Linux does in /proc.
 */
import { mkdir, open, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { SidestreamError } from '../errors.ts'
import { partialOf } from './partial.ts'
import { fileError } from './source.ts'

/**
 * Makes a directory and those above it that are missing.
 * @returns whether there was anything to make
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_DISK_FULL
 */
export async function makeDirectory(path: string): Promise<boolean> {
  const missing: string[] = []
  for (let at = resolve(path); !(await isDirectory(at)); at = dirname(at)) {
    if (at === dirname(at)) throw cannotBeMade(path)
    missing.unshift(at)
  }
  for (const directory of missing) {
    try {
      await mkdir(directory)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') throw cannotBeMade(path, error)
      // Another process may have made it meanwhile.
      if (code !== 'EEXIST' || !(await isDirectory(directory))) throw fileError(path, error)
    }
  }
  return missing.length > 0
}

/**
 * Makes a directory and tries that a file can be written there: before work is done for it.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_DISK_FULL
 */
export async function requireWritable(directory: string): Promise<void> {
  await makeDirectory(directory)
  const probe = partialOf(join(directory, 'probe'))
  try {
    await (await open(probe, 'wx')).close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw cannotBeMade(directory, error)
    throw fileError(directory, error)
  }
  await rm(probe)
}

/** False when nothing stands there. @throws SIDESTREAM_FILE_UNREADABLE for something else than a directory */
async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw fileError(path, error)
  })
  if (found !== undefined && !found.isDirectory()) throw fileError(path, Object.assign(new Error(), { code: 'ENOTDIR' }))
  return found !== undefined
}

function cannotBeMade(path: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `${path}: nothing can be made there; write to another place`, {
    cause,
    file: path,
  })
}
