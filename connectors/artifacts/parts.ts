/** What every artifacts driver does alike: names it refuses, the manifest of parts, when two artifacts are equal, its errors. */

import { createHash } from 'node:crypto'

import { z } from 'zod'

import { SidestreamError } from '../../schemas/index.ts'
import type { ArtifactManifest, ArtifactPart } from './artifacts.ts'

/** Name that no part may have. */
export const manifestName = 'manifest.json'
const artifactName = /^[a-z0-9._/-]{1,128}$/
const partName = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/

const part = z.object({
  name: z.string().regex(partName),
  bytes: z.number().int().min(0),
  sha256: z.string().length(64),
})

/** A manifest as it is stored. */
export const manifestSchema = z.object({
  name: z.string().regex(artifactName),
  parts: z.array(part),
  about: z.record(z.string(), z.unknown()),
})

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkName(name: string): void {
  if (!artifactName.test(name)) throw usage(`artifact name ${JSON.stringify(name)} must match [a-z0-9._/-]{1,128}`)
}

/**
 * The manifest of parts that are to be written.
 * @throws SIDESTREAM_USAGE_INVALID for a name that no artifact or part may have
 */
export function manifestOf(
  name: string,
  parts: ReadonlyMap<string, Uint8Array>,
  about: Readonly<Record<string, unknown>>,
): ArtifactManifest {
  checkName(name)
  for (const wanted of parts.keys()) {
    if (!partName.test(wanted) || wanted === manifestName) {
      throw usage(`part ${JSON.stringify(wanted)} must match [A-Za-z0-9._-]{1,128} and not be ${manifestName}`)
    }
  }
  return { name, parts: [...parts].map(([own, bytes]) => ({ name: own, bytes: bytes.length, sha256: sha256(bytes) })), about }
}

/** True when two artifacts have the same parts with the same bytes; what is said of them may differ. */
export function isEqualContent(a: readonly ArtifactPart[], b: readonly ArtifactPart[]): boolean {
  return fingerprint(a) === fingerprint(b)
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT when the bytes are not those that the manifest promises */
export function checkPart(artifact: string, { name, bytes, sha256: expected }: ArtifactPart, content: Uint8Array): void {
  if (content.length !== bytes) throw corrupt(artifact, name, `has ${content.length} bytes, the manifest says ${bytes}`)
  if (sha256(content) !== expected) throw corrupt(artifact, name, 'has changed: its SHA-256 differs from the manifest')
}

/** Hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function corrupt(artifact: string, name: string, what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `part ${name} of artifact ${artifact} ${what}: restore it or build it again`, {
    artifact,
    part: name,
  })
}

export function otherContent(artifact: string): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_ARTIFACT_CORRUPT',
    `artifact ${artifact} exists with other content: artifacts never change, write it under another name`,
    { artifact },
  )
}

export function missing(artifact: string, place: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_MISSING', `there is no artifact ${artifact} in ${place}`, { artifact })
}

function fingerprint(parts: readonly ArtifactPart[]): string {
  return parts
    .map(({ name, sha256: hash }) => `${name} ${hash}`)
    .sort()
    .join('\n')
}

function usage(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
