/**
 * Where the control socket of a data directory is. Invariant: nobody but the owner of the directory can ever connect to it: it is
 * made in a directory of mode 0700, gets mode 0600, and only then its name.
 */

import { chmod, mkdtemp, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

const socketName = 'control.sock'
/** Holds the path of the socket when the directory's own is too long for one. */
const pathName = 'control.path'
/** Longest path of a socket, bytes: 104 with its end on macOS, 108 on Linux. */
const longestPath = 103
const awayPrefix = 'sidestream-'

/** A path to bind, and what puts the bound socket in its place. */
export interface SocketPlace {
  /** Bind here. */
  readonly draft: string
  /** Makes the bound socket reachable. @returns the path to connect to */
  publish(): Promise<string>
  /** Removes what was made, before or after `publish`. */
  remove(): Promise<void>
}

/** A place for the socket of a directory that this process owns; what a killed daemon left is removed. */
export async function socketPlace(dataDir: string, shortDir = process.env['XDG_RUNTIME_DIR'] ?? tmpdir()): Promise<SocketPlace> {
  await removeSocket(dataDir)
  const own = join(dataDir, socketName)
  const fits = Buffer.byteLength(own) <= longestPath
  const directory = await mkdtemp(fits ? join(dataDir, '.s-') : join(shortDir, awayPrefix))
  const draft = join(directory, 's')
  return {
    draft,
    publish: async () => {
      await chmod(draft, 0o600)
      if (!fits) {
        await writeFile(join(dataDir, pathName), draft, { mode: 0o600 })
        return draft
      }
      await rename(draft, own)
      await rmdir(directory)
      return own
    },
    remove: async () => {
      await rm(directory, { recursive: true, force: true })
      await removeSocket(dataDir)
    },
  }
}

/** Where a daemon of this directory listens, if one does. */
export async function findSocket(dataDir: string): Promise<string> {
  return (await awayPath(dataDir)) ?? join(dataDir, socketName)
}

/** True when a process listens at the path. */
export function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const end = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(2000, () => end(false))
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}

async function removeSocket(dataDir: string): Promise<void> {
  const away = await awayPath(dataDir)
  // Only what has the shape of ours is removed, whatever the file says.
  if (away !== undefined && basename(away) === 's' && basename(dirname(away)).startsWith(awayPrefix)) {
    await rm(away, { force: true })
    await rmdir(dirname(away)).catch(() => {})
  }
  await rm(join(dataDir, pathName), { force: true })
  await rm(join(dataDir, socketName), { force: true })
}

async function awayPath(dataDir: string): Promise<string | undefined> {
  const text = await readFile(join(dataDir, pathName), 'utf8').catch(() => '')
  return text === '' || text.length > longestPath ? undefined : text
}
