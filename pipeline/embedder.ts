/**
 * Content vectors to published vectors and semantic IDs in one ONNX session: head, quantization to the stored number type
 * and residual quantization of exactly those numbers.
 * Invariant: an item's result depends on its content, head and bundle alone; every run has the same shape, short ones are
 * filled up with absent items, so batches leave no trace.
 */

import { Graph, Session, toModel, zeros } from '../compute/index.ts'
import type { Tensor } from '../compute/index.ts'
import { appendHeadViews, headInputs, headLayout } from '../distill/index.ts'
import type { Head } from '../distill/index.ts'
import { appendQuantize } from '../features/index.ts'
import { appendEncode, assign, vectorDimOf } from '../semantic-ids/index.ts'
import type { Bundle } from '../semantic-ids/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { SidOrigin, VectorDtype } from '../schemas/index.ts'

/** Rows of one run. Higher: more throughput, more work for a single item. */
export const runRows = 256
/** Runs whose input memory is kept for the next ones. */
const mostSpare = 16

/** A published feature set. */
export interface EmbeddedView {
  readonly name: string
  /** Distilled dims of the view. */
  readonly prefix: number
  readonly dtype: VectorDtype
}

export interface EmbedderOptions {
  readonly head: Head
  readonly views: readonly EmbeddedView[]
  /** The view whose stored numbers are quantized to semantic IDs. */
  readonly semanticIdView: string
  /** Codebooks and parent codes; left out, vectors are made without semantic IDs (the first fit). */
  readonly bundle?: Bundle
  /** @default 1 */
  readonly threads?: number
}

/** Content of up to any number of items, as the codec's batch has it. */
export interface ContentRows {
  readonly ids: readonly string[]
  /** Per modality in the head's order, row-major float32 [rows or more, dim]. */
  readonly vectors: readonly Float32Array[]
  /** Per modality, 1 where present, [rows or more]. */
  readonly present: readonly Uint8Array[]
}

/** What one view stores of a batch. */
export interface StoredVectors {
  readonly dim: number
  readonly dtype: VectorDtype
  /** Stored numbers, row-major [rows, dim]: float32, float16 bits or int8. */
  readonly stored: Float32Array | Uint16Array | Int8Array
  /** One per row for int8. */
  readonly scales: Float32Array | undefined
}

export interface Embedded {
  readonly rows: number
  readonly views: ReadonlyMap<string, StoredVectors>
  /** The semantic-ID view's numbers as a reader sees them, row-major float32. */
  readonly dequantized: Float32Array
  /** Row-major [rows, levels]; empty without a bundle. */
  readonly codes: Uint16Array
  readonly origins: readonly SidOrigin[]
  /** Rows whose codes were settled in float64. */
  readonly rechecked: number
}

export class Embedder {
  /** Dims of the semantic-ID view. */
  readonly dim: number
  readonly #options: EmbedderOptions
  readonly #session: Session
  /** Inputs that no run uses. */
  readonly #spare: Record<string, Tensor>[] = []

  private constructor(options: EmbedderOptions, session: Session, dim: number) {
    this.#options = options
    this.#session = session
    this.dim = dim
  }

  /** @throws SIDESTREAM_SHAPE_MISMATCH when head and bundle do not fit each other; SIDESTREAM_SESSION_FAILED */
  static async create(options: EmbedderOptions): Promise<Embedder> {
    const { head, views, semanticIdView, bundle } = options
    const layout = headLayout(head.spec)
    const owner = views.find(({ name }) => name === semanticIdView)
    if (owner === undefined) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `no view is named ${semanticIdView}`)
    const dim = layout.ends[head.spec.prefixes.indexOf(owner.prefix)]!
    const wanted = bundle && vectorDimOf(bundle.codebooks, bundle.network)
    if (wanted !== undefined && wanted !== dim) {
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `the codebooks have ${wanted} dims, view ${semanticIdView} has ${dim}`)
    }
    const session = await Session.create(embedderModel(options), { threads: options.threads ?? 1, name: 'embedder' })
    return new Embedder(options, session, dim)
  }

  /** Embeds the first `ids.length` rows. Inputs are copied. */
  async embed(content: ContentRows): Promise<Embedded> {
    const rows = content.ids.length
    const { bundle } = this.#options
    const levels = bundle?.codebooks.sizes.length ?? 0
    const old = bundle === undefined || bundle.parents.rows === 0 ? undefined : bundle.parents.lookup(content.ids)
    const runs: Promise<Record<string, Tensor>>[] = []
    for (let from = 0; from < rows; from += runRows) {
      const feeds = this.#feeds(content, old, from, Math.min(runRows, rows - from))
      runs.push(this.#session.run(feeds, { transfer: true, reclaim: (inputs) => this.#keep(inputs) }))
    }
    const outputs = await Promise.all(runs)
    const dequantized = collect(outputs, 'dequantized', rows, this.dim, new Float32Array(rows * this.dim))
    const assigned =
      bundle === undefined
        ? { codes: new Uint16Array(0), origins: [], rechecked: 0 }
        : assign(
            bundle,
            dequantized,
            old ?? new Int32Array(rows * levels).fill(-1),
            {
              codes: collect(outputs, 'codes', rows, levels, new Int32Array(rows * levels)),
              margins: collect(outputs, 'margins', rows, levels, new Float32Array(rows * levels)),
            },
            content.ids,
          )
    return {
      rows,
      views: new Map(this.#options.views.map((view) => [view.name, this.#stored(view, outputs, rows)])),
      dequantized,
      ...assigned,
    }
  }

  close(): Promise<void> {
    return this.#session.close()
  }

  #feeds(content: ContentRows, old: Int32Array | undefined, from: number, count: number): Record<string, Tensor> {
    const { modalities } = this.#options.head.spec
    const feeds = this.#spare.pop() ?? this.#inputs()
    const presence = (feeds['presence']!.data as Float32Array).fill(0)
    for (const [m, { name, dim }] of modalities.entries()) {
      const vectors = feeds[`content_${name}`]!.data as Float32Array
      vectors.set(content.vectors[m]!.subarray(from * dim, (from + count) * dim))
      vectors.fill(0, count * dim)
      const present = content.present[m]!
      for (let i = 0; i < count; i++) presence[i * modalities.length + m] = present[from + i]!
    }
    if (old !== undefined) {
      const levels = this.#options.bundle!.codebooks.sizes.length
      const padded = feeds['old']!.data as Int32Array
      padded.set(old.subarray(from * levels, (from + count) * levels))
      padded.fill(-1, count * levels)
    }
    return feeds
  }

  /** Memory of one run's inputs. */
  #inputs(): Record<string, Tensor> {
    const { head, bundle } = this.#options
    const { modalities } = head.spec
    const feeds: Record<string, Tensor> = { presence: zeros('float32', [runRows, modalities.length]) }
    for (const { name, dim } of modalities) feeds[`content_${name}`] = zeros('float32', [runRows, dim])
    if (bundle !== undefined && bundle.parents.rows > 0) feeds['old'] = zeros('int32', [runRows, bundle.codebooks.sizes.length])
    return feeds
  }

  #keep(inputs: Record<string, Tensor>): void {
    if (this.#spare.length < mostSpare) this.#spare.push(inputs)
  }

  #stored(view: EmbeddedView, outputs: readonly Record<string, Tensor>[], rows: number): StoredVectors {
    const { head } = this.#options
    const dim = headLayout(head.spec).ends[head.spec.prefixes.indexOf(view.prefix)]!
    return {
      dim,
      dtype: view.dtype,
      stored: collect(outputs, `stored_${view.name}`, rows, dim, storedArray(view.dtype, rows * dim)),
      scales: view.dtype === 'i8' ? collect(outputs, `scale_${view.name}`, rows, 1, new Float32Array(rows)) : undefined,
    }
  }
}

/** Head, stored numbers per view and codes as one model. */
function embedderModel({ head, views, semanticIdView, bundle }: EmbedderOptions): Uint8Array {
  const graph = new Graph({ name: 'embedder' })
  const inputs = headInputs(graph, head, 'n')
  const prefixes = [...new Set(views.map(({ prefix }) => prefix))]
  const outputs = appendHeadViews(graph, head, inputs, prefixes)
  const published = new Map(prefixes.map((prefix, i) => [prefix, outputs[i]!.published]))
  for (const view of views) {
    const { stored, scale, dequantized } = appendQuantize(graph, published.get(view.prefix)!, view.dtype)
    graph.output(`stored_${view.name}`, stored)
    if (scale !== undefined) graph.output(`scale_${view.name}`, scale)
    if (view.name !== semanticIdView) continue
    graph.output('dequantized', dequantized)
    if (bundle === undefined) continue
    const { codebooks, parents, delta } = bundle
    const old = parents.rows === 0 ? undefined : graph.input('old', 'int32', ['n', codebooks.sizes.length])
    const walk = appendEncode(graph, dequantized, bundle, old && { old, delta })
    graph.output('codes', walk.codes)
    graph.output('margins', walk.margins)
  }
  return toModel(graph)
}

type StoredArray = Float32Array | Uint16Array | Int8Array

/** One output of all runs, the filling cut off. Whole numbers that the graph gives as float32 become the array's type. */
function collect<T extends StoredArray | Int32Array>(
  outputs: readonly Readonly<Record<string, Tensor>>[],
  name: string,
  rows: number,
  width: number,
  out: T,
): T {
  for (const [i, output] of outputs.entries()) {
    const at = i * runRows
    const data = output[name]!.data as StoredArray
    out.set(data.subarray(0, Math.min(runRows, rows - at) * width), at * width)
  }
  return out
}

function storedArray(dtype: VectorDtype, length: number): StoredArray {
  switch (dtype) {
    case 'f32':
      return new Float32Array(length)
    case 'f16':
      return new Uint16Array(length)
    case 'i8':
      return new Int8Array(length)
  }
}
