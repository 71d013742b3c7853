/**
 * What is being written, beside its target under a name of its own, and what writers that were killed left there.
 * Invariant: what a live process of this machine writes is left alone, and so is what another machine wrote.
 */
import { createHash, randomBytes } from 'node:crypto'
import { readdir, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'

/** Where the content of `path` stands until it is whole: says which process of which machine writes it. */
export function partialOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.${machine()}-${process.pid}-${randomBytes(6).toString('hex')}.partial`)
}

/**
 * Removes what killed writers of `path` left beside it; for whoever has written it anew.
 * @param before - milliseconds since epoch; what has changed later is left alone
 */
export async function removeAbandoned(path: string, before: number): Promise<void> {
  const directory = dirname(path)
  const start = `.${basename(path)}.${machine()}-`
  for (const name of await readdir(directory).catch((): string[] => [])) {
    if (!name.startsWith(start)) continue
    const pid = /^(\d+)-[0-9a-f]{12}\.partial$/.exec(name.slice(start.length))?.[1]
    if (pid === undefined) continue
    const changed = await stat(join(directory, name)).then(
      ({ mtimeMs }) => mtimeMs,
      () => Infinity,
    )
    if (changed >= before || isWriting(Number(pid), changed)) continue
    // Whatever keeps it from going: the write that was asked for is done.
    await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined)
  }
}

/** Whether the process may still write what it last changed then. A container's first process has the number of the one before. */
function isWriting(pid: number, changed: number): boolean {
  if (pid === process.pid) return changed >= performance.timeOrigin
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH' // EPERM: alive, another user's
  }
}

function machine(): string {
  return createHash('sha256').update(hostname()).digest('hex').slice(0, 8)
}
