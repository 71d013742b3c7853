/** Modalities left out while training: which ones, that a restart repeats it, and what it is for. */
import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fillNormal, oneCycleSchedule } from '../../compute/index.ts'
import {
  createHead,
  decodeCheckpoint,
  dropModalities,
  encodeCheckpoint,
  fitStatistics,
  HeadEncoder,
  pairRow,
  Trainer,
  type ContentVectors,
  type Head,
} from '../../distill/index.ts'
import { worldHead, worldItems, worldRows } from './head-world.ts'

interface Drawn {
  readonly items: number
  readonly vectors: readonly Float32Array[]
  readonly presence: Float32Array
}

/** Items of modalities of 2 dims; `masks` are the modalities that each has, as bits. */
function batchOf(masks: readonly number[], modalities: number): Drawn {
  const presence = Float32Array.from(masks.flatMap((mask) => Array.from({ length: modalities }, (_, m) => (mask >> m) & 1)))
  const vectors = Array.from({ length: modalities }, (_, m) =>
    Float32Array.from(masks.flatMap((mask) => ((mask >> m) & 1 ? [m + 1, -1] : [0, 0]))),
  )
  return { items: masks.length, vectors, presence }
}

test('an item keeps one of its modalities at least, gets none that it lacks, and what is left out is zeros', () => {
  const batches = fc.integer({ min: 1, max: 4 }).chain((modalities) =>
    fc.record({
      modalities: fc.constant(modalities),
      masks: fc.array(fc.integer({ min: 0, max: 2 ** modalities - 1 }), { minLength: 1, maxLength: 20 }),
      share: fc.double({ min: 0, max: 0.999, noNaN: true }),
      step: fc.nat(),
      seed: fc.nat(),
    }),
  )
  fc.assert(
    fc.property(batches, ({ modalities, masks, share, step, seed }) => {
      const [whole, left, again] = [batchOf(masks, modalities), batchOf(masks, modalities), batchOf(masks, modalities)]
      dropModalities(left, share, { seed, step })
      dropModalities(again, share, { seed, step })
      deepStrictEqual(again, left)
      for (const [item, mask] of masks.entries()) {
        const has = left.presence.subarray(item * modalities, (item + 1) * modalities)
        strictEqual(
          has.some((flag) => flag === 1),
          mask !== 0,
        )
        for (let m = 0; m < modalities; m++) {
          const own = left.vectors[m]!.subarray(2 * item, 2 * item + 2)
          ok(has[m] === 0 || whole.presence[item * modalities + m] === 1)
          deepStrictEqual(own, has[m] === 1 ? whole.vectors[m]!.subarray(2 * item, 2 * item + 2) : new Float32Array(2))
        }
      }
      if (share === 0) deepStrictEqual(left, whole)
    }),
  )
})

test('each modality is left out with the chance that was asked for, anew in every step', () => {
  const gone = (step: number): Float32Array => {
    const batch = batchOf(
      Array.from({ length: 20_000 }, () => 7),
      3,
    )
    dropModalities(batch, 0.2, { seed: 4, step })
    return batch.presence
  }
  const presence = gone(11)
  for (let m = 0; m < 3; m++) {
    const share = presence.filter((flag, at) => at % 3 === m && flag === 0).length / 20_000
    // 0.2, less a third of the 0.2³ of items that would lose all; the deviation of the mean is 0.0028.
    ok(Math.abs(share - (0.2 - 0.2 ** 3 / 3)) < 0.012, `modality ${m}: ${share}`)
  }
  notDeepStrictEqual(gone(12), presence)
})

test('what a seed leaves out in a step stays the same from release to release', () => {
  const batch = batchOf([3, 3, 3, 3, 1, 2, 3, 3], 2)
  dropModalities(batch, 0.5, { seed: 1, step: 9 })
  deepStrictEqual([...batch.presence], [1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1])
})

test('training with it that was stopped goes on and ends with the same bits, and without it with others', async () => {
  const items = worldItems(40)
  const content = (id: string): ContentVectors | undefined => items.get(id)
  const rows = worldRows(70, items.size)
  const trained = async (modalityDropout: number, stopAt?: number): Promise<Uint8Array> => {
    const options = { batchSize: 16, historyLength: 4, sources: [{ name: 'seq2item', kind: 'sequences' as const, modalityDropout }] }
    const plan = { schedule: () => 5e-3, passes: 2, shuffleSeed: 4 }
    let trainer = await Trainer.create(worldHead(items), options)
    if (stopAt !== undefined) {
      await trainer.train(rows, content, { ...plan, shouldStop: () => trainer.step === stopAt })
      const kept = encodeCheckpoint(await trainer.checkpoint({ trainedUntil: 0, round: 0, offsets: {}, seeds: {}, metrics: {} }))
      await trainer.close()
      const { head, training } = decodeCheckpoint(kept)
      trainer = await Trainer.create(head, options, training)
    }
    await trainer.train(rows, content, { ...plan, skip: stopAt ?? 0 })
    const { parts } = encodeCheckpoint(await trainer.checkpoint({ trainedUntil: 0, round: 0, offsets: {}, seeds: {}, metrics: {} }))
    await trainer.close()
    return parts.get('head.tensors')!
  }
  const through = await trained(0.3)
  deepStrictEqual(await trained(0.3, 5), through)
  notDeepStrictEqual(await trained(0), through)
})

/** Items whose two modalities each show, by a map of its own, what the item is about. */
function twoSided(count: number): Map<string, ContentVectors> {
  const [about, noise] = [6, 0.3]
  const normals = (length: number, stream: number): Float32Array => {
    const out = new Float32Array(length)
    fillNormal(out, 21, stream)
    return out
  }
  const maps = { image: normals(about * 12, 1), text: normals(about * 10, 2) }
  const topics = normals(about * (count / 4), 3)
  return new Map(
    Array.from({ length: count }, (_, i) => {
      const own = normals(about, 100 + i)
      const topic = Math.floor(i / 4)
      const point = own.map((x, k) => topics[topic * about + k]! + 0.3 * x)
      const vectors = Object.entries(maps).map(([name, map], m) => {
        const dim = map.length / about
        const error = normals(dim, 10_000 + 2 * i + m)
        const vector = error.map((e, d) => noise * e + point.reduce((sum, x, k) => sum + x * map[k * dim + d]!, 0))
        return [name, vector] as const
      })
      return [`i${i}`, Object.fromEntries(vectors)] as const
    }),
  )
}

test('a head trained with it loses less when a modality is missing', async () => {
  const items = twoSided(240)
  const ids = [...items.keys()]
  const modalities = [
    { name: 'image', dim: 12 },
    { name: 'text', dim: 10 },
  ]
  const statistics = fitStatistics(modalities, [...items.values()])
  // Four items of a topic belong together: three pairs are trained on, the fourth is asked for.
  const rows = ids.flatMap((queryId, i) => [1, 2].map((by) => pairRow({ queryId, targetId: ids[i - (i % 4) + ((i + by) % 4)]! })))
  const train = async (modalityDropout: number): Promise<Head> => {
    const fresh = createHead({ modalities, dims: 12, hidden: 16, prefixes: [12], contentShare: 0, seed: 5 }, statistics)
    const sources = [{ name: 'tags', kind: 'pairs' as const, losses: { modality: 0, lateFusion: 0 }, modalityDropout }]
    const trainer = await Trainer.create(fresh, { batchSize: 60, tau: 0.1, sources })
    try {
      const passes = 20
      const schedule = oneCycleSchedule({ totalSteps: passes * 8, max: 1e-2 })
      await trainer.train(rows, (id) => items.get(id), { schedule, passes, shuffleSeed: 5 })
      return await trainer.head()
    } finally {
      await trainer.close()
    }
  }
  /** Share of queries whose nearest three hold the item that it was never paired with; targets with those modalities alone. */
  const recall = async (head: Head, kept: readonly string[]): Promise<number> => {
    const encoder = await HeadEncoder.create(head)
    try {
      const whole = await encoder.encode([...items.values()])
      const part = [...items.values()].map((vectors) => Object.fromEntries(kept.map((name) => [name, vectors[name]!])))
      const targets = await encoder.encode(part)
      const cosine = (i: number, j: number): number => {
        let sum = 0
        for (let d = 0; d < 12; d++) sum += whole.published[i * 12 + d]! * targets.published[j * 12 + d]!
        return sum
      }
      const found = ids.filter((_, i) => {
        const wanted = i - (i % 4) + ((i + 3) % 4)
        const own = cosine(i, wanted)
        return ids.filter((_id, j) => j !== i && cosine(i, j) > own).length < 3
      })
      return found.length / ids.length
    } finally {
      await encoder.close()
    }
  }
  const lossOf = async (head: Head): Promise<readonly number[]> => {
    const all = await recall(head, ['image', 'text'])
    return [all, all - (await recall(head, ['text'])), all - (await recall(head, ['image']))]
  }
  const [without, with3] = [await lossOf(await train(0)), await lossOf(await train(0.3))]
  const said = `recall and what a missing image, a missing text costs: ${without.join(' ')} without, ${with3.join(' ')} with`
  ok(with3[1]! < without[1]! - 0.1 && with3[2]! < without[2]! - 0.1, said)
})
