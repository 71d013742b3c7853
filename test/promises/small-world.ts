/**
 * A small seeded world and a project to run it through: a day of event time, ever new items, some changed and deleted,
 * users with a taste, events a little out of order and some told twice. Whole runs take seconds.
 */

import { hashUnit } from '../../compute/index.ts'
import type { ImportSource } from '../../pipeline/index.ts'
import { checkConfig } from '../../schemas/index.ts'
import type { Config, SourceEvent } from '../../schemas/index.ts'

export const hourMs = 3_600_000
/** 2026-01-05T00:00:00Z */
export const startTs = 1_767_571_200_000

const modalities = { image: { dim: 12 }, text: { dim: 8 } }

export interface SmallConfig {
  readonly dataDir: string
  /** @default 2 */
  readonly partitions?: number
  /** Seed of head, row order and codebooks. @default 1 */
  readonly seed?: number
}

/** Everything the daemon does, small: two views, a scheduled version every 12 hours of event time. */
export function smallConfig({ dataDir, partitions = 2, seed = 1 }: SmallConfig, changes: object = {}): Config {
  return checkConfig({
    project: 'promise',
    dataDir,
    seed,
    content: { modalities },
    interactions: { positiveBehaviors: ['click', 'like'], otherBehaviors: ['view'] },
    head: { dim: 16, prefixes: [8, 16], hidden: 16 },
    training: { batch: 64, warmupSteps: 10, learningRate: 0.01 },
    semanticIds: { levels: [8, 8], rowsPerCode: 6, iterations: 8, churnBudget: 0.3, distortionCeiling: 100 },
    views: { main: { prefix: 'full', dtype: 'f16' }, small: { prefix: 8, dtype: 'i8' } },
    refresh: { everyMs: 12 * hourMs, bootstrapMs: 3 * hourMs, evalWindowMs: 2 * hourMs },
    guard: { mode: 'report', minEvents: 20 },
    log: { partitions, groupCommitMs: 1, segmentBytes: 65_536 },
    ...changes,
  })
}

export interface SmallWorld {
  /** @default 1 */
  readonly seed?: number
  /** @default 120 */
  readonly items?: number
  /** @default 40 */
  readonly users?: number
  /** @default 1200 */
  readonly interactions?: number
}

const tasteDim = 4

/** All records of the world, in the order in which they arrive. The same options give the same records. */
export function smallWorld({ seed = 1, items = 120, users = 40, interactions = 1200 }: SmallWorld = {}): SourceEvent[] {
  const draw = (name: string): number => hashUnit(seed, name)
  const normal = (name: string): number => Math.sqrt(-2 * Math.log(1 - draw(`${name}/r`))) * Math.cos(2 * Math.PI * draw(`${name}/a`))
  const spanMs = 24 * hourMs
  const taste = (name: string): Float64Array => Float64Array.from({ length: tasteDim }, (_, d) => normal(`${name}/${d}`))
  const arrivals: { readonly at: number; readonly event: SourceEvent }[] = []

  const bornTs = Array.from(
    { length: items },
    (_, i) => startTs + Math.floor(i < items / 4 ? draw(`born ${i}`) * hourMs : draw(`born ${i}`) * spanMs),
  )
  const tastes = Array.from({ length: items }, (_, i) => taste(`item ${i}`))
  const content = (i: number, eventTs: number, edition: number): SourceEvent => {
    const vectors: Record<string, Float32Array> = {}
    for (const [name, { dim }] of Object.entries(modalities)) {
      if (draw(`lacks ${name} ${i}`) < (name === 'text' ? 0.1 : 0)) continue
      vectors[name] = Float32Array.from({ length: dim }, (_, d) => {
        const signal = tastes[i]!.reduce((sum, t, f) => sum + t * normal(`map ${name} ${d} ${f}`), 0)
        return signal + 0.5 * normal(`noise ${name} ${i} ${edition} ${d}`)
      })
    }
    return { topic: 'item-content', itemId: `item-${i}`, eventTs, record: { itemId: `item-${i}`, eventTs, vectors } }
  }
  for (let i = 0; i < items; i++) {
    arrivals.push({ at: bornTs[i]!, event: content(i, bornTs[i]!, 0) })
    const fate = draw(`fate ${i}`)
    const laterTs = bornTs[i]! + Math.floor(draw(`later ${i}`) * (startTs + spanMs - bornTs[i]!))
    if (fate < 0.2) arrivals.push({ at: laterTs, event: content(i, laterTs, 1) })
    else if (fate < 0.25)
      arrivals.push({ at: laterTs, event: { topic: 'item-content', itemId: `item-${i}`, eventTs: laterTs, record: null } })
  }

  for (let n = 0; n < interactions; n++) {
    const eventTs = startTs + hourMs / 2 + Math.floor(((n + draw(`jitter ${n}`)) / interactions) * (spanMs - hourMs / 2))
    const user = Math.floor(draw(`user ${n}`) * users)
    const wants = taste(`user ${user}`)
    // The best of a few items that exist: likes follow tastes, so there is something to learn.
    let item = -1
    let best = -Infinity
    for (let k = 0; k < 12; k++) {
      const candidate = Math.floor(draw(`shown ${n} ${k}`) * items)
      const liking = wants.reduce((sum, w, d) => sum + w * tastes[candidate]![d]!, 0)
      if (bornTs[candidate]! < eventTs && liking > best) [item, best] = [candidate, liking]
    }
    if (item < 0) continue
    const behaviors = best > 0 ? ['view', 'click'] : ['view']
    const event: SourceEvent = {
      topic: 'interactions',
      eventTs,
      record: { userId: `user-${user}`, itemId: `item-${item}`, eventTs, behaviors },
    }
    const delay = draw(`delay ${n}`)
    arrivals.push({ at: eventTs + (delay < 0.1 ? delay * 10 * 120_000 : 0), event })
    if (draw(`twice ${n}`) < 0.03) arrivals.push({ at: eventTs + 60_000, event })
  }
  return arrivals.sort((a, b) => a.at - b.at || (a.event.topic < b.event.topic ? 1 : -1)).map(({ event }) => event)
}

/** The world as a source of `importSources`. */
export function sourceOf(name: string, events: readonly SourceEvent[], batchRows = 64): ImportSource {
  return {
    identity: async () => Buffer.from(name.padEnd(32, '.')).toString('hex'),
    events: async function* () {
      for (let at = 0; at < events.length; at += batchRows) yield events.slice(at, at + batchRows)
    },
  }
}
