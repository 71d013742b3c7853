/**
 * Watches at the end of every round how the live codebooks serve the items that came after them, and proposes a refresh.
 * Invariant: what it says is a function of the catalogue as of the round's end and of the live version; it starts nothing. Items are
 * encoded once for each version and content, so a round costs a walk over the catalogue and its new items. What it
 * encodes with stays open while the version is live: opening it took longer than most rounds' new items do.
 */

import type { VersionRecord } from '../features/index.ts'
import { driftFigures, driftReasons, squaredErrors, throughNetwork } from '../semantic-ids/index.ts'
import type { Bundle, DriftFigures, WatchedItem } from '../semantic-ids/index.ts'
import { createItemContentBatch, semanticIdView } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { readBundle } from './bundles.ts'
import { modalitiesOf } from './catalogue.ts'
import { entryAsOf } from './as-of-state.ts'
import { catalogueAsOf, contentPrefix } from './content-state.ts'
import { Embedder } from './embedder.ts'
import type { Project } from './project.ts'
import { readCheckpoint } from './training.ts'
import { embeddedViews } from './views.ts'

/** How the live codebooks stood at the end of a round. */
export interface DriftStatus {
  readonly version: number
  /** Event time up to which items were looked at. */
  readonly untilTs: number
  readonly figures: DriftFigures
  /** Why a refresh is proposed; empty when it is not. */
  readonly reasons: readonly string[]
}

type Encoded = Omit<WatchedItem, 'isNew'> & { readonly eventTs: number }

/** What a version's items are seen with. */
interface Eyes {
  readonly bundle: Bundle
  readonly embedder: Embedder
}

/** Items that are decoded and encoded together. */
const chunkItems = 2048

export class DriftWatch {
  /** What was seen last; null before anything was. */
  newest: DriftStatus | null = null
  readonly #project: Project
  readonly #state: State
  #version = 0
  readonly #encoded = new Map<string, Encoded>()
  /** Version and reasons that were told. */
  #told = ''
  #eyes: Eyes | undefined

  constructor(project: Project, state: State) {
    this.#project = project
    this.#state = state
  }

  /** Looks at the catalogue before `untilTs` with the eyes of the live version. */
  async look({ version, head, codebook, cut }: VersionRecord, untilTs: number): Promise<void> {
    const { config, logger } = this.#project
    const { watch } = config.refresh
    if (watch.errorRatio === null && watch.headShare === null && watch.occupancyRise === null) return
    if (this.#version !== version) {
      this.#encoded.clear()
      await this.close()
    }
    this.#version = version
    await this.#encode(head, codebook, untilTs)
    const since = cut.eventTs
    const figures = driftFigures(watched(this.#encoded.values(), since), watch.capacity)
    const reasons = driftReasons(figures, watch)
    this.newest = { version, untilTs, figures, reasons }
    const told = `${version} ${reasons.map((reason) => reason.replace(/[\d.]+/g, '')).join()}`
    if (reasons.length > 0 && told !== this.#told) {
      logger.warn(
        { version, ...figures },
        `a refresh is proposed: since the cut of version ${version} ${reasons.join('; ')}. Run \`sidestream refresh\`, or wait for the scheduled one (refresh.watch)`,
      )
    }
    this.#told = told
  }

  /** Gives free what it encodes with; a later look opens it anew. */
  async close(): Promise<void> {
    const eyes = this.#eyes
    this.#eyes = undefined
    await eyes?.embedder.close()
  }

  /** Encodes what is not known yet in this content, and forgets what is gone. */
  async #encode(headName: string, codebook: string, untilTs: number): Promise<void> {
    const gone = new Set(this.#encoded.keys())
    const wanted: string[] = []
    for (const { itemId, eventTs } of catalogueAsOf(this.#state, untilTs)) {
      gone.delete(itemId)
      if (this.#encoded.get(itemId)?.eventTs !== eventTs) wanted.push(itemId)
    }
    for (const itemId of gone) this.#encoded.delete(itemId)
    if (wanted.length === 0) return
    const eyes = (this.#eyes ??= await this.#open(headName, codebook))
    for (let from = 0; from < wanted.length; from += chunkItems) {
      // Read again: what is walked over must not be held while others write.
      const chunk = wanted.slice(from, from + chunkItems).flatMap((itemId) => {
        const entry = entryAsOf(this.#state, contentPrefix, itemId, untilTs)
        return entry?.value === undefined ? [] : [{ itemId, value: entry.value, eventTs: entry.eventTs }]
      })
      await this.#encodeChunk(eyes, chunk)
    }
  }

  async #open(headName: string, codebook: string): Promise<Eyes> {
    const { config } = this.#project
    const bundle = await readBundle(this.#project, codebook)
    const { head } = await readCheckpoint(this.#project, headName, { training: false })
    const embedder = await Embedder.create({
      head,
      bundle,
      views: embeddedViews(config),
      semanticIdView: semanticIdView(config),
      threads: config.training.threads,
    })
    return { bundle, embedder }
  }

  async #encodeChunk(
    { embedder, bundle: { codebooks, settings, network } }: Eyes,
    items: readonly { readonly itemId: string; readonly value: Uint8Array; readonly eventTs: number }[],
  ): Promise<void> {
    const batch = createItemContentBatch(items.length, modalitiesOf(this.#project))
    this.#project.codec.decodeItemContentBatch(
      items.map(({ value }) => value),
      batch,
    )
    const ids = items.map(({ itemId }) => itemId)
    const { dequantized, codes } = await embedder.embed({ ids, vectors: batch.vectors, present: batch.present })
    const seen = network === undefined ? dequantized : throughNetwork(network, dequantized)
    const errors = squaredErrors(seen, codes, codebooks, settings)
    const levels = codebooks.sizes.length
    for (const [row, { itemId, eventTs }] of items.entries()) {
      const own = codes.subarray(row * levels, (row + 1) * levels)
      this.#encoded.set(itemId, { eventTs, bucket: own.join(), firstCode: own[0]!, error: errors[row]! })
    }
  }
}

function* watched(items: Iterable<Encoded>, since: number): Iterable<WatchedItem> {
  for (const item of items) yield { ...item, isNew: item.eventTs >= since }
}
