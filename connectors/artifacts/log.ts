/**
 * Artifacts in the `artifacts` topic, for processes on several machines, with a directory as cache in front: chunks first,
 * the manifest last, each acknowledged before the next.
 * Invariants: what is read has passed the SHA-256 of every part, whether it came from the cache or the log; of writers that
 * race for one name the first manifest in the log wins, and every other sees that it has lost; a writer that was killed
 * leaves chunks that nobody lists.
 */

import { randomUUID } from 'node:crypto'
import { join } from 'node:path'

import { Codec, isPoison, isSidestreamError, SidestreamError } from '../../schemas/index.ts'
import type { LogBatch, LogDriver, LogProducer, LogRecord } from '../log/log.ts'
import type { Artifact, ArtifactManifest, Artifacts } from './artifacts.ts'
import { openArtifactDirectory } from './directory.ts'
import { ArtifactIndex, chunkKeys, keyText, placeOf, plainManifest, shortHash } from './log-index.ts'
import type { Indexed, LogManifest } from './log-index.ts'
import { checkName, checkPart, corrupt, isEqualContent, manifestName, manifestOf, missing, otherContent, sha256 } from './parts.ts'

export interface ArtifactLogOptions {
  readonly log: LogDriver
  /** Directory of the cache and the index; this process's alone. Created when missing. */
  readonly directory: string
  /** A topic of one partition, compacted. @default artifacts */
  readonly topic?: string
  /** Most bytes of one chunk. Higher: fewer records, and no longer what a broker's default takes. @default 921600 */
  readonly chunkBytes?: number
  /** Most bytes of an artifact, all parts together; a larger one is refused. @default 1073741824 */
  readonly artifactBytes?: number
  /**
   * Age of what was read of the topic at which it is read again from its start: must stay below the time that the log keeps
   * tombstones, or a removed artifact would come back. Milliseconds.
   * @default 43200000
   */
  readonly staleMs?: number
  /** Milliseconds since epoch. @default Date.now */
  readonly clock?: () => number
}

/** Defaults of `openArtifactLog`. */
export const artifactLogDefaults = {
  topic: 'artifacts',
  chunkBytes: 921_600,
  artifactBytes: 1_073_741_824,
  staleMs: 43_200_000,
  clock: Date.now,
} as const satisfies Partial<ArtifactLogOptions>

/** Tries of a write whose chunks are removed by others meanwhile. */
const writeTries = 5
const partition = 0

/**
 * Opens the cache and catches up with the topic.
 * @throws SIDESTREAM_TOPIC_UNKNOWN, SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE, whatever the log throws
 */
export async function openArtifactLog(options: ArtifactLogOptions): Promise<Artifacts> {
  const cache = await openArtifactDirectory({ directory: options.directory })
  const producer = await options.log.producer()
  const path = join(options.directory, 'log-index.json')
  const index = await ArtifactIndex.load(path, options.topic ?? artifactLogDefaults.topic)
  return ArtifactLog.open({ ...artifactLogDefaults, ...options }, { cache, producer, path, index })
}

interface Parts {
  readonly cache: Artifacts
  readonly producer: LogProducer
  /** Where the index is kept. */
  readonly path: string
  readonly index: ArtifactIndex
}

class ArtifactLog implements Artifacts {
  readonly #options: Readonly<Required<ArtifactLogOptions>>
  readonly #cache: Artifacts
  readonly #producer: LogProducer
  readonly #path: string
  readonly #codec = new Codec()
  #index: ArtifactIndex
  /** The index was read from the topic's start by this process. */
  #rebuilt = false
  /** Calls, one after the other: each decides on what the one before it has read. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(options: Readonly<Required<ArtifactLogOptions>>, { cache, producer, path, index }: Parts) {
    this.#options = options
    this.#cache = cache
    this.#producer = producer
    this.#path = path
    this.#index = index
  }

  static async open(options: Readonly<Required<ArtifactLogOptions>>, parts: Parts): Promise<Artifacts> {
    const artifacts = new ArtifactLog(options, parts)
    await artifacts.#catchUp()
    const names = new Set(artifacts.#index.names(''))
    for (const name of await parts.cache.list('')) if (!names.has(name)) await parts.cache.remove(name)
    return artifacts
  }

  write(name: string, parts: ReadonlyMap<string, Uint8Array>, about: Readonly<Record<string, unknown>>): Promise<ArtifactManifest> {
    return this.#next(async () => this.#write(this.#split(manifestOf(name, parts, about), parts), parts))
  }

  read(name: string): Promise<Artifact> {
    return this.#next(async () => {
      checkName(name)
      try {
        return await this.#read(name)
      } catch (error) {
        // Before the log is blamed: the index may be of a topic that was made anew, or a chunk has moved in a compaction.
        if (this.#rebuilt || !isSidestreamError(error) || error.code !== 'SIDESTREAM_ARTIFACT_CORRUPT') throw error
        this.#index = new ArtifactIndex()
        return this.#read(name)
      }
    })
  }

  list(prefix: string): Promise<string[]> {
    return this.#next(async () => {
      await this.#catchUp()
      return this.#index.names(prefix)
    })
  }

  remove(name: string): Promise<void> {
    return this.#next(async () => {
      checkName(name)
      await this.#catchUp()
      await this.#forget(this.#index.keysOf(name))
      await this.#catchUp()
      await this.#cache.remove(name)
    })
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }

  async #read(name: string): Promise<Artifact> {
    await this.#catchUp()
    const found = this.#index.find(name)
    if (found === undefined) throw missing(name, `topic ${this.#options.topic}`)
    if (found.lacks !== undefined) throw corrupt(name, found.lacks, 'is missing from the log')
    const manifest = plainManifest(found.manifest)
    return { manifest, parts: (await this.#cached(manifest)) ?? (await this.#fetch(found)) }
  }

  /** The manifest as the log holds it. @throws SIDESTREAM_USAGE_INVALID when the artifact is too large */
  #split(manifest: ArtifactManifest, parts: ReadonlyMap<string, Uint8Array>): LogManifest {
    const { chunkBytes, artifactBytes } = this.#options
    const total = manifest.parts.reduce((sum, { bytes }) => sum + bytes, 0)
    if (total > artifactBytes) {
      const message = `artifact ${manifest.name} has ${total} bytes, more than the ${artifactBytes} that the log takes`
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message, { artifact: manifest.name })
    }
    const split = manifest.parts.map((part) => ({
      ...part,
      chunks: chunksOf(parts.get(part.name)!, chunkBytes).map((bytes) => shortHash(sha256(bytes))),
    }))
    return { format: 1, name: manifest.name, parts: split, about: { ...manifest.about } }
  }

  async #write(manifest: LogManifest, parts: ReadonlyMap<string, Uint8Array>): Promise<ArtifactManifest> {
    const { name } = manifest
    for (let tries = 0; tries < writeTries; tries++) {
      await this.#catchUp()
      const before = this.#index.find(name)
      if (before !== undefined && before.lacks === undefined) return this.#sameOr(before, manifest)
      // Chunks without a manifest were left by a killed writer, a manifest without chunks by damage: neither is an artifact.
      if (before !== undefined) await this.#forget([before.key])
      const key = keyText({ artifact: name, part: manifestName, index: 0, hash: shortHash(randomUUID().replaceAll('-', '')) })
      await this.#appendChunks(manifest, parts)
      await this.#append(key, name, { part: manifestName, index: 0, count: 1 }, encoder.encode(JSON.stringify(manifest)))
      await this.#catchUp()
      const after = this.#index.find(name)
      if (after === undefined || after.lacks !== undefined) continue // removed by somebody while it was written
      const kept = new Set([after.key, ...chunkKeys(after.manifest)])
      await this.#forget(this.#index.keysOf(name).filter((own) => (after.key === key ? !kept.has(own) : own === key)))
      const written = this.#sameOr(after, manifest)
      await this.#intoCache(written, parts)
      return written
    }
    throw new SidestreamError(
      'SIDESTREAM_ARTIFACT_CORRUPT',
      `artifact ${name} was removed by another process each of the ${writeTries} times it was written: let one process write it`,
      { artifact: name },
    )
  }

  /** What stands in the log, when it is the same. @throws SIDESTREAM_ARTIFACT_CORRUPT */
  #sameOr(stored: Indexed, wanted: LogManifest): ArtifactManifest {
    if (!isEqualContent(stored.manifest.parts, wanted.parts)) throw otherContent(wanted.name)
    return plainManifest(stored.manifest)
  }

  async #appendChunks({ name, parts: manifestParts }: LogManifest, parts: ReadonlyMap<string, Uint8Array>): Promise<void> {
    for (const { name: part, chunks } of manifestParts) {
      const pieces = chunksOf(parts.get(part)!, this.#options.chunkBytes)
      for (const [index, bytes] of pieces.entries()) {
        const key = keyText({ artifact: name, part, index, hash: chunks[index]! })
        await this.#append(key, name, { part, index, count: pieces.length }, bytes)
      }
    }
  }

  async #append(
    key: string,
    artifact: string,
    place: { readonly part: string; readonly index: number; readonly count: number },
    bytes: Uint8Array,
  ): Promise<void> {
    const value = this.#codec.encode('artifacts', { artifact, ...place, bytes })
    await this.#producer.send(this.#options.topic, partition, [{ key: encoder.encode(key), value }])
  }

  async #forget(keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return
    await this.#producer.send(
      this.#options.topic,
      partition,
      keys.map((key) => ({ key: encoder.encode(key), value: null })),
    )
  }

  /** Takes in what the topic holds by now. */
  async #catchUp(): Promise<void> {
    const { log, topic, staleMs, clock } = this.#options
    const { end: ends } = await (await log.admin()).describe(topic)
    const end = ends[partition] ?? 0n
    const now = clock()
    // A topic that is shorter than what was read of it is another topic.
    if (end < this.#index.position || now - this.#index.readTs >= staleMs) this.#index = new ArtifactIndex()
    const index = this.#index
    if (index.position === 0n) this.#rebuilt = true
    const take = (batch: LogBatch): void => {
      for (const { key, value, offset } of batch.records) {
        if (key === null) continue
        index.apply(offset, decoder.decode(key), value === null ? null : () => this.#manifestText(value))
      }
    }
    if (end > index.position) await log.read(topic, take, { from: [index.position], upTo: [end] })
    index.readTs = now
    if (end === index.position) return
    index.position = end
    await index.save(this.#path, topic)
  }

  #manifestText(value: Uint8Array): string | undefined {
    const bytes = this.#bytesOf(value)
    return bytes === undefined ? undefined : decoder.decode(bytes)
  }

  #bytesOf(value: Uint8Array): Uint8Array | undefined {
    try {
      return this.#codec.decode('artifacts', value).bytes
    } catch (error) {
      if (isPoison(error)) return undefined
      throw error
    }
  }

  /** The parts as the cache has them; undefined when it has not these. */
  async #cached({ name, parts }: ArtifactManifest): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
    try {
      const cached = await this.#cache.read(name)
      if (isEqualContent(cached.manifest.parts, parts)) return new Map(parts.map((part) => [part.name, cached.parts.get(part.name)!]))
    } catch (error) {
      if (!isSidestreamError(error) || !error.code.startsWith('SIDESTREAM_ARTIFACT_')) throw error
    }
    return undefined
  }

  /** The parts out of the log. @throws SIDESTREAM_ARTIFACT_CORRUPT naming the part */
  async #fetch({ manifest }: Indexed): Promise<ReadonlyMap<string, Uint8Array>> {
    const { name } = manifest
    const wanted = new Map(chunkKeys(manifest).map((key) => [key, this.#index.offsetOf(name, key)!]))
    const chunks = new Map<string, Uint8Array>()
    let from = -1n
    let to = 0n
    for (const offset of wanted.values()) {
      if (from < 0n || offset < from) from = offset
      if (offset >= to) to = offset + 1n
    }
    const take = ({ key, value, offset }: LogRecord): void => {
      const text = key === null ? '' : decoder.decode(key)
      if (value === null || wanted.get(text) !== offset) return
      const bytes = this.#bytesOf(value)
      if (bytes !== undefined && shortHash(sha256(bytes)) === placeOf(text)?.hash) chunks.set(text, Uint8Array.from(bytes))
    }
    if (from >= 0n) {
      const { log, topic } = this.#options
      await log.read(topic, ({ records }) => records.forEach(take), { from: [from], upTo: [to] })
    }
    const parts = new Map<string, Uint8Array>()
    for (const part of manifest.parts) {
      const pieces = part.chunks.map((hash, index) => chunks.get(keyText({ artifact: name, part: part.name, index, hash })))
      const damaged = pieces.findIndex((piece) => piece === undefined)
      if (damaged >= 0) throw corrupt(name, part.name, `has lost or changed chunk ${damaged} of ${pieces.length} in the log`)
      const content = joined(pieces as Uint8Array[])
      checkPart(name, part, content)
      parts.set(part.name, content)
    }
    await this.#intoCache(plainManifest(manifest), parts)
    return parts
  }

  /** Keeps what the log has already; without room for it, it is read from the log again. */
  async #intoCache({ name, about }: ArtifactManifest, parts: ReadonlyMap<string, Uint8Array>): Promise<void> {
    try {
      await this.#cache.write(name, parts, about).catch(async (error: unknown) => {
        if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_ARTIFACT_CORRUPT') throw error
        await this.#cache.remove(name) // of an artifact that was removed since, or damaged
        await this.#cache.write(name, parts, about)
      })
    } catch (error) {
      if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_DISK_FULL') throw error
    }
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The bytes in pieces of at most `size`; none of an empty part. */
function chunksOf(bytes: Uint8Array, size: number): Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size))
  return chunks
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}
