/**
 * The artifacts port: immutable named sets of parts (heads, codebooks).
 * Invariant: the manifest is written last; what has no manifest does not exist; a reader checks every part's SHA-256.
 */

export interface ArtifactPart {
  readonly name: string
  readonly bytes: number
  readonly sha256: string
}

export interface ArtifactManifest {
  readonly name: string
  readonly parts: readonly ArtifactPart[]
  /** Whatever the writer wants to say of the artifact, plain JSON. */
  readonly about: Readonly<Record<string, unknown>>
}

export interface Artifact {
  readonly manifest: ArtifactManifest
  readonly parts: ReadonlyMap<string, Uint8Array>
}

export interface Artifacts {
  /** Writing a name that exists with equal content is a no-op; with other content SIDESTREAM_ARTIFACT_CORRUPT. Names match `[a-z0-9._/-]{1,128}`. */
  write(name: string, parts: ReadonlyMap<string, Uint8Array>, about: Readonly<Record<string, unknown>>): Promise<ArtifactManifest>
  /** @throws SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT (names the part) */
  read(name: string): Promise<Artifact>
  /** Names of complete artifacts that start with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>
  remove(name: string): Promise<void>
}
