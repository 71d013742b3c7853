/**
 * Distillation and embedding over files: the streaming job's code without a log.
 * Invariant: what is written appears whole or not at all; equal files and options give equal bytes.
 */

import { join } from 'node:path'
import { decodeCheckpoint, distillOffline, embedOffline, encodeCheckpoint, headModel } from '../distill/index.ts'
import type { OfflineProgress, OfflineReport } from '../distill/index.ts'
import {
  fileExists,
  fileFormat,
  readContent,
  readInteractions,
  SidestreamError,
  writeEmbeddings,
  writeVectorsF32,
} from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import { openArtifacts } from './compose.ts'
import { sampleOptions, setOptions } from './ingest.ts'
import { headOptions, trainerOptions } from './training.ts'

export interface DistillFiles {
  readonly interactions: string
  readonly content: string
  /** Directory of the result: artifact `head`. */
  readonly out: string
  readonly onProgress?: (progress: OfflineProgress) => void
}

const artifactName = 'head'
const onnxPart = 'head.onnx'
const encoder = new TextEncoder()

/**
 * Trains a head on files and writes it with `head.onnx` (plain ONNX) and `report.json`.
 * @throws what the readers and the trainer throw; SIDESTREAM_USAGE_INVALID when `out` holds a head already
 */
export async function distillFiles(config: Config, files: DistillFiles): Promise<OfflineReport> {
  const artifacts = await openArtifacts(files.out)
  if ((await artifacts.list(artifactName)).includes(artifactName)) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      `${files.out} holds a head already: write to another directory, or remove that one first`,
    )
  }
  const { checkpoint, report } = await distillOffline({
    interactions: readInteractions(files.interactions),
    content: readContent(files.content, config.content.modalities),
    options: {
      head: headOptions({ config }),
      samples: { ...sampleOptions(config), emptyHistories: false },
      sets: setOptions(config),
      trainer: trainerOptions(config),
      passes: config.training.epochs,
      learningRate: config.training.learningRate,
      seed: config.seed,
    },
    ...(files.onProgress !== undefined && { onProgress: files.onProgress }),
  })
  const { parts, about } = encodeCheckpoint(checkpoint)
  parts.set(onnxPart, headModel(checkpoint.head))
  parts.set('report.json', encoder.encode(JSON.stringify(report)))
  await artifacts.write(artifactName, parts, about)
  return report
}

/** Where the plain ONNX file of a head stands that `distillFiles` wrote to `out`. */
export function headModelFile(out: string): string {
  return join(out, `${artifactName}.artifact`, onnxPart)
}

export interface EmbedFiles {
  /** Directory that `distillFiles` wrote. */
  readonly head: string
  readonly content: string
  /** `.parquet` or `.f32`. */
  readonly out: string
  /** Distilled dims of a short view. @default the full vector */
  readonly prefix?: number
  readonly onProgress?: (items: number) => void
}

/** Writes the published vectors of all items of a content file. @returns number of items */
export async function embedFiles(files: EmbedFiles): Promise<number> {
  const format = fileFormat(files.out)
  if (format !== 'parquet' && format !== 'f32') {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `vectors are written as .parquet or .f32, not to ${files.out}`)
  }
  if (!(await fileExists(files.head))) {
    throw new SidestreamError(
      'SIDESTREAM_ARTIFACT_MISSING',
      `${files.head}: there is no such directory; the head's is the one that \`distill --out\` wrote`,
    )
  }
  const { manifest, parts } = await (await openArtifacts(files.head)).read(artifactName)
  const { head } = decodeCheckpoint({ parts, about: manifest.about }, { training: false })
  const dims = Object.fromEntries(head.spec.modalities.map(({ name, dim }) => [name, { dim }]))
  const batches = embedOffline({
    head,
    content: readContent(files.content, dims),
    ...(files.prefix !== undefined && { options: { prefix: files.prefix } }),
  })
  const counted = countItems(batches, files.onProgress)
  return format === 'parquet' ? writeEmbeddings(files.out, counted) : writeVectorsF32(files.out, counted)
}

async function* countItems<T extends { readonly ids: readonly string[] }>(
  batches: AsyncIterable<T>,
  onProgress: (items: number) => void = () => {},
): AsyncGenerator<T> {
  let items = 0
  for await (const batch of batches) {
    items += batch.ids.length
    yield batch
    onProgress(items)
  }
}
