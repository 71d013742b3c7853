/** Modalities left out while training: which ones, that a restart repeats it, and what it is for. */
import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeCheckpoint, dropModalities, encodeCheckpoint, Trainer, type ContentVectors } from '../../distill/index.ts'
import { worldHead, worldItems, worldRows } from './head-world.ts'
import { recallOf, trainTwoSided, twoSidedItems } from './two-sided-world.ts'

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

test('a head trained with it loses less when a modality is missing', async () => {
  const items = twoSidedItems()
  const lossOf = async (modalityDropout: number): Promise<readonly number[]> => {
    const head = await trainTwoSided(items, { modalityDropout })
    const both = ['image', 'text']
    const recall = (targets: readonly string[]): Promise<number> => recallOf(items, head, { queries: both, targets })
    const all = await recall(both)
    return [all, all - (await recall(['text'])), all - (await recall(['image']))]
  }
  const [without, having] = [await lossOf(0), await lossOf(0.3)]
  const said = `recall, and what a missing image or text costs: ${without.join(' ')} without, ${having.join(' ')} with`
  ok(having[1]! < without[1]! - 0.1 && having[2]! < without[2]! - 0.1, said)
  ok(having[0]! > without[0]! - 0.15, said)
})
