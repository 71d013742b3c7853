/**
 * What the `artifacts` topic says, without the bytes: which records stand for which artifact, and where they are.
 * Invariants: it is a function of the topic up to `position`, the same before and after compaction, since no two different
 * contents share a record key; of several manifests of one name the first in the log counts; an artifact exists when that
 * manifest and all its chunks are there.
 */

import { readFile } from 'node:fs/promises'

import { z } from 'zod'

import { writeWhole } from '../../schemas/index.ts'
import type { ArtifactManifest } from './artifacts.ts'
import { manifestName, manifestSchema } from './parts.ts'

const hashLength = 16
const most = { parts: 1024, chunks: 65_536 } as const

/** A manifest as a record holds it: every part with the hashes of its chunks. */
const logManifest = manifestSchema.extend({
  format: z.literal(1),
  parts: z
    .array(manifestSchema.shape.parts.element.extend({ chunks: z.array(z.string().length(hashLength)).max(most.chunks) }))
    .max(most.parts),
})
export type LogManifest = z.infer<typeof logManifest>

/** Where a record of the topic belongs, as its key says. */
export interface RecordPlace {
  readonly artifact: string
  readonly part: string
  readonly index: number
  /** First digits of the SHA-256 of the chunk; of a manifest a number that nobody else draws. */
  readonly hash: string
}

interface Entry {
  /** Offsets of chunks, by record key. */
  readonly chunks: Map<string, bigint>
  readonly manifests: Map<string, { readonly offset: bigint; readonly manifest: LogManifest }>
}

/** An artifact as the topic has it. */
export interface Indexed {
  readonly manifest: LogManifest
  /** Record key of the manifest that counts. */
  readonly key: string
  readonly offset: bigint
  /** Part whose chunks are not all there; undefined: the artifact is whole. */
  readonly lacks: string | undefined
}

/** Key of a record: equal keys hold equal bytes. */
export function keyText({ artifact, part, index, hash }: RecordPlace): string {
  return `${artifact}/${part}/${index}/${hash}`
}

/** The place that a key names; undefined for a key that nobody here wrote. */
export function placeOf(key: string): RecordPlace | undefined {
  const match = /^([a-z0-9._/-]{1,128})\/([A-Za-z0-9._-]{1,128})\/(\d{1,5})\/([0-9a-f]{16})$/.exec(key)
  return match === null ? undefined : { artifact: match[1]!, part: match[2]!, index: Number(match[3]), hash: match[4]! }
}

/** Hash as keys and manifests hold it. */
export const shortHash = (sha256: string): string => sha256.slice(0, hashLength)

/** Keys of all chunks of a manifest, part by part. */
export function chunkKeys({ name, parts }: LogManifest): string[] {
  return parts.flatMap(({ name: part, chunks }) => chunks.map((hash, index) => keyText({ artifact: name, part, index, hash })))
}

/** The manifest without what only the log needs. */
export function plainManifest({ name, parts, about }: LogManifest): ArtifactManifest {
  return { name, parts: parts.map(({ name: part, bytes, sha256 }) => ({ name: part, bytes, sha256 })), about }
}

export class ArtifactIndex {
  readonly #entries = new Map<string, Entry>()
  /** Next offset to take in. */
  position = 0n
  /** When the topic was last read to its end, milliseconds since epoch. */
  readTs = 0

  /** Takes a record; later offsets only. `manifestText` reads a manifest record's bytes; undefined: it is none. */
  apply(offset: bigint, key: string, manifestText: (() => string | undefined) | null): void {
    const place = placeOf(key)
    if (place === undefined) return
    const entry = this.#entries.get(place.artifact) ?? { chunks: new Map(), manifests: new Map() }
    if (manifestText === null) {
      entry.chunks.delete(key)
      entry.manifests.delete(key)
      if (entry.chunks.size === 0 && entry.manifests.size === 0) this.#entries.delete(place.artifact)
      return
    }
    if (place.part === manifestName) {
      const manifest = parseManifest(manifestText())
      if (manifest === undefined || manifest.name !== place.artifact) return
      entry.manifests.set(key, { offset, manifest })
    } else entry.chunks.set(key, offset)
    this.#entries.set(place.artifact, entry)
  }

  /** The manifest that counts, and whether its chunks are all there. */
  find(artifact: string): Indexed | undefined {
    const entry = this.#entries.get(artifact)
    if (entry === undefined) return undefined
    let first: Indexed | undefined
    for (const [key, { offset, manifest }] of entry.manifests) {
      if (first === undefined || offset < first.offset) first = { key, offset, manifest, lacks: undefined }
    }
    if (first === undefined) return undefined
    const { manifest } = first
    const lacks = manifest.parts.find(({ name: part, chunks }) =>
      chunks.some((hash, index) => !entry.chunks.has(keyText({ artifact, part, index, hash }))),
    )
    return { ...first, lacks: lacks?.name }
  }

  offsetOf(artifact: string, key: string): bigint | undefined {
    return this.#entries.get(artifact)?.chunks.get(key)
  }

  /** Every record key of an artifact, manifests first: in this order they are taken away. */
  keysOf(artifact: string): string[] {
    const entry = this.#entries.get(artifact)
    return entry === undefined ? [] : [...entry.manifests.keys(), ...entry.chunks.keys()]
  }

  /** Names of whole artifacts, sorted. */
  names(prefix: string): string[] {
    return [...this.#entries.keys()]
      .filter((name) => {
        const found = name.startsWith(prefix) ? this.find(name) : undefined
        return found !== undefined && found.lacks === undefined
      })
      .sort()
  }

  /** Keeps the index beside the cache, so that the next start reads what is new only. */
  async save(path: string, topic: string): Promise<void> {
    const records = [...this.#entries.values()].flatMap(({ chunks, manifests }) => [
      ...[...manifests].map(([key, { offset, manifest }]) => ({ key, offset: String(offset), manifest })),
      ...[...chunks].map(([key, offset]) => ({ key, offset: String(offset) })),
    ])
    const text = JSON.stringify({ format: 1, topic, position: String(this.position), readTs: this.readTs, records })
    await writeWhole(path, (handle) => handle.writeFile(text))
  }

  /** The index as it was saved; an empty one when there is none, or none that can be used. */
  static async load(path: string, topic: string): Promise<ArtifactIndex> {
    const index = new ArtifactIndex()
    const stored = saved.safeParse(parseJson(await readFile(path, 'utf8').catch(() => '')))
    if (!stored.success || stored.data.topic !== topic) return index
    for (const { key, offset, manifest } of stored.data.records) {
      index.apply(BigInt(offset), key, () => (manifest === undefined ? undefined : JSON.stringify(manifest)))
    }
    index.position = BigInt(stored.data.position)
    index.readTs = stored.data.readTs
    return index
  }
}

const offsetText = z.string().regex(/^\d{1,19}$/)
const saved = z.object({
  format: z.literal(1),
  topic: z.string(),
  position: offsetText,
  readTs: z.number(),
  records: z.array(z.object({ key: z.string(), offset: offsetText, manifest: logManifest.optional() })),
})

function parseManifest(text: string | undefined): LogManifest | undefined {
  const parsed = logManifest.safeParse(parseJson(text ?? ''))
  return parsed.success ? parsed.data : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
