/**
 * Runs a head over items: content vectors in, published vectors out, in a worker thread.
 * Invariant: an item's bytes do not depend on which items it is encoded with: every run has the same shape, short ones
 * are filled up with absent items. (ONNX Runtime picks its matrix kernels by shape.)
 */

import { Graph, Session, tensor, toModel, type ComputeWorker, type Tensor } from '../compute/index.ts'
import { gatherContent } from './batches.ts'
import { appendHead, headInputs } from './head-graph.ts'
import { headLayout, type Head } from './head.ts'
import type { ContentVectors } from './statistics.ts'

export interface HeadModelOptions {
  /** Distilled dims D_k of a short view, one of the trained prefixes. @default the full vector */
  readonly prefix?: number
}

/**
 * The head as a plain ONNX file. Inputs `content_<modality>` float32 [n, dim] and `presence` float32 [n, M]; outputs
 * `published`, `distilled` and, when there is a content part, `content`, all float32 [n, ...] with rows of unit length.
 * @throws SIDESTREAM_USAGE_INVALID when `prefix` was not trained
 */
export function headModel(head: Head, options: HeadModelOptions = {}): Uint8Array {
  const graph = new Graph({ name: 'head' })
  const { published, distilled, content } = appendHead(graph, head, headInputs(graph, head), options)
  graph.output('published', published)
  graph.output('distilled', distilled)
  if (content) graph.output('content', content)
  return toModel(graph, { metadata: { spec: JSON.stringify(head.spec), prefix: String(options.prefix ?? head.spec.dims) } })
}

export interface HeadEncoderOptions extends HeadModelOptions {
  /** Threads of one run. @default 1 */
  readonly threads?: number
  /** Rows of one run; shorter runs are filled up. Higher: more throughput, more work for a single item. @default 256 */
  readonly batchRows?: number
  /** Shares this thread instead of starting one. */
  readonly worker?: ComputeWorker
}

export const headEncoderDefaults = { threads: 1, batchRows: 256 } as const

/** Encoded items, row-major float32. A row without any modality is zero. */
export interface EncodedItems {
  readonly rows: number
  /** [rows, dim] of the view. */
  readonly published: Float32Array
  /** [rows, D] */
  readonly distilled: Float32Array
  /** [rows, C] */
  readonly content: Float32Array
}

export class HeadEncoder {
  /** Dims of the published view. */
  readonly dim: number
  readonly #head: Head
  readonly #session: Session
  readonly #batchRows: number

  private constructor(head: Head, session: Session, dim: number, batchRows: number) {
    this.#head = head
    this.#session = session
    this.dim = dim
    this.#batchRows = batchRows
  }

  /** @throws SIDESTREAM_USAGE_INVALID, SIDESTREAM_SESSION_FAILED */
  static async create(head: Head, options: HeadEncoderOptions = {}): Promise<HeadEncoder> {
    const { threads = headEncoderDefaults.threads, batchRows = headEncoderDefaults.batchRows, prefix = head.spec.dims, worker } = options
    const session = await Session.create(headModel(head, { prefix }), { threads, name: 'head', ...(worker ? { worker } : {}) })
    const view = headLayout(head.spec).ends[head.spec.prefixes.indexOf(prefix)]!
    return new HeadEncoder(head, session, view, batchRows)
  }

  /**
   * Encodes items in their order.
   * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE, SIDESTREAM_SESSION_FAILED
   */
  async encode(items: readonly ContentVectors[]): Promise<EncodedItems> {
    const { modalities } = this.#head.spec
    const runs: Promise<Record<string, Tensor>>[] = []
    for (let from = 0; from < items.length; from += this.#batchRows) {
      const ids = Array.from({ length: this.#batchRows }, (_, i) => from + i)
      const { vectors, presence } = gatherContent(ids, (at) => items[at], modalities)
      const feeds: Record<string, Tensor> = { presence: tensor('float32', [this.#batchRows, modalities.length], presence) }
      for (const [m, { name, dim }] of modalities.entries()) {
        feeds[`content_${name}`] = tensor('float32', [this.#batchRows, dim], vectors[m]!)
      }
      runs.push(this.#session.run(feeds, { transfer: true }))
    }
    const outputs = await Promise.all(runs)
    const collect = (name: string): Float32Array => {
      const width = Number(outputs[0]?.[name]?.dims[1] ?? 0)
      const out = new Float32Array(items.length * width)
      for (const [i, output] of outputs.entries()) {
        const at = i * this.#batchRows
        const rows = Math.min(this.#batchRows, items.length - at)
        if (width > 0) out.set((output[name]!.data as Float32Array).subarray(0, rows * width), at * width)
      }
      return out
    }
    return { rows: items.length, published: collect('published'), distilled: collect('distilled'), content: collect('content') }
  }

  close(): Promise<void> {
    return this.#session.close()
  }
}
