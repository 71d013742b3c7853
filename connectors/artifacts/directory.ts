/**
 * Artifacts as folders of one directory: `<name>.artifact/`, one file per part and `manifest.json`.
 * Invariant: a folder gets its name in one rename, after all its files (the manifest last) are on disk, so a folder
 * with that ending is complete; anything else in the directory is a draft that nobody lists.
 */

import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { SidestreamError, isSidestreamError, makeDirectory, syncDirectory } from '../../schemas/index.ts'
import type { Artifact, ArtifactManifest, ArtifactPart, Artifacts } from './artifacts.ts'
import { checkName, checkPart, corrupt, isEqualContent, manifestName, manifestOf, manifestSchema, missing, otherContent } from './parts.ts'

export interface ArtifactDirectoryOptions {
  /** Directory of artifacts alone; created when missing. */
  readonly directory: string
}

const ending = '.artifact'
const draftPrefix = 'draft~'

/** Opens the directory and removes drafts that a crash left behind. One owner per directory. */
export async function openArtifactDirectory({ directory }: ArtifactDirectoryOptions): Promise<Artifacts> {
  await makeDirectory(directory).catch(failed(directory))
  for (const entry of await readdir(directory).catch(failed(directory))) {
    if (entry.startsWith(draftPrefix)) await rm(join(directory, entry), { recursive: true, force: true }).catch(failed(directory))
  }
  return new ArtifactDirectory(directory)
}

class ArtifactDirectory implements Artifacts {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** "Equal content" is equal parts: then the stored manifest stays as it is, with the `about` of the first writer. */
  async write(name: string, parts: ReadonlyMap<string, Uint8Array>, about: Readonly<Record<string, unknown>>): Promise<ArtifactManifest> {
    const manifest = manifestOf(name, parts, about)
    const stored = await this.#storedEqual(manifest)
    if (stored !== undefined) return stored
    const draft = join(this.#directory, `${draftPrefix}${randomUUID()}`)
    try {
      await mkdir(draft)
      for (const [part, bytes] of parts) await writeSynced(join(draft, part), bytes)
      await writeSynced(join(draft, manifestName), Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`))
      await syncDirectory(draft)
      await rename(draft, this.#folder(name))
      await syncDirectory(this.#directory)
    } catch (error) {
      await rm(draft, { recursive: true, force: true })
      const { code } = error as NodeJS.ErrnoException
      const written = code === 'ENOTEMPTY' || code === 'EEXIST' ? await this.#storedEqual(manifest) : undefined
      if (written !== undefined) return written // a concurrent write of the same artifact came first
      return failed(this.#directory)(error)
    }
    return manifest
  }

  async read(name: string): Promise<Artifact> {
    checkName(name)
    const manifest = await this.#manifest(name)
    if (manifest === undefined) throw missing(name, this.#directory)
    const parts = new Map<string, Uint8Array>()
    for (const part of manifest.parts) parts.set(part.name, await this.#readPart(name, part))
    return { manifest, parts }
  }

  async list(prefix: string): Promise<string[]> {
    const names: string[] = []
    for (const folder of await readdir(this.#directory).catch(failed(this.#directory))) {
      const name = folder.slice(0, -ending.length).replaceAll('~', '/')
      if (!folder.endsWith(ending) || folder.startsWith(draftPrefix) || !name.startsWith(prefix)) continue
      names.push(name)
    }
    return names.sort()
  }

  async remove(name: string): Promise<void> {
    checkName(name)
    // Renamed to a draft first: a half-removed artifact is never listed.
    const draft = join(this.#directory, `${draftPrefix}${randomUUID()}`)
    try {
      await rename(this.#folder(name), draft)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      await failed(this.#directory)(error)
    }
    await syncDirectory(this.#directory)
    await rm(draft, { recursive: true, force: true })
  }

  #folder(name: string): string {
    return join(this.#directory, name.replaceAll('/', '~') + ending)
  }

  async #storedEqual(manifest: ArtifactManifest): Promise<ArtifactManifest | undefined> {
    const stored = await this.#manifest(manifest.name)
    if (stored === undefined) return undefined
    if (isEqualContent(stored.parts, manifest.parts)) return stored
    throw otherContent(manifest.name)
  }

  async #manifest(name: string): Promise<ArtifactManifest | undefined> {
    const file = join(this.#folder(name), manifestName)
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      return failed(this.#directory)(error)
    })
    if (text === undefined) return undefined
    const parsed = manifestSchema.safeParse(parseJson(text))
    if (parsed.success && parsed.data.name === name) return parsed.data
    throw corrupt(name, manifestName, 'is no manifest of this artifact')
  }

  async #readPart(name: string, part: ArtifactPart): Promise<Uint8Array> {
    const content = await readFile(join(this.#folder(name), part.name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') throw corrupt(name, part.name, 'is missing')
      return failed(this.#directory)(error)
    })
    checkPart(name, part, content)
    return new Uint8Array(content.buffer, content.byteOffset, content.length)
  }
}

async function writeSynced(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'wx')
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function failed(directory: string): (error: unknown) => never {
  return (cause) => {
    if (isSidestreamError(cause)) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      throw new SidestreamError('SIDESTREAM_DISK_FULL', `no room to write in ${directory} (${message}): free space, then try again`, {
        cause,
        directory,
      })
    }
    throw new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `cannot use ${directory}: ${message}`, { cause, directory })
  }
}
