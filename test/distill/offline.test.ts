/** Offline distillation and embedding: from records to vectors, whatever the batching. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { uniform, uniformInt } from '../../compute/index.ts'
import { distillOffline, embedOffline, type ContentRecord, type OfflineOptions, type OfflineProgress } from '../../distill/index.ts'
import type { Interaction } from '../../schemas/index.ts'
import { modalities, worldItems } from './head-world.ts'

const items = [...worldItems(30)]
const content: ContentRecord[] = items.map(([itemId, vectors]) => ({ itemId, content: { itemId, eventTs: 1, vectors } }))
const interactions: Interaction[] = Array.from({ length: 240 }, (_, i) => ({
  userId: `u${uniformInt(5, 0, i, 20)}`,
  itemId: `i${uniformInt(5, 1, i, 30)}`,
  eventTs: 1000 + i,
  behaviors: [uniform(5, 2, i) < 0.8 ? 'click' : 'view'],
}))
const options: OfflineOptions = {
  head: { modalities, dims: 8, hidden: 7, prefixes: [4, 8], seed: 1 },
  samples: { positiveBehaviors: new Set(['click']) },
  trainer: { batchSize: 32 },
  passes: 3,
  learningRate: 1e-2,
}

function inBatches<T>(records: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(records.length / size) }, (_, i) => records.slice(i * size, (i + 1) * size))
}

test('the same records give the same checkpoint however they are batched and ordered in the file', async () => {
  const progress: OfflineProgress[] = []
  const first = await distillOffline({ interactions: [interactions], content: [content], options, onProgress: (p) => progress.push(p) })
  const second = await distillOffline({ interactions: inBatches(interactions.toReversed(), 7), content: inBatches(content, 11), options })
  deepStrictEqual(second, first)
  const { report, checkpoint } = first
  strictEqual(report.trainedUntil, 1239)
  strictEqual(report.interactions, 240)
  strictEqual(report.trace.steps.loss.length, report.steps)
  strictEqual(checkpoint.position.step, report.steps)
  ok(report.passLosses[2]! < report.passLosses[0]!)
  deepStrictEqual(JSON.parse(JSON.stringify(report)), report)
  deepStrictEqual(progress.filter(({ phase }) => phase === 'train').at(-1), {
    phase: 'train',
    done: report.steps,
    total: report.steps,
    stage: 'collaboration',
    source: 'seq2item',
    loss: report.trace.steps.loss.at(-1),
    lambda: null,
  })
})

test('later rows of an item win, deleted items teach nothing', async () => {
  const wrong = content.map((row) => ({ ...row, content: { ...row.content!, vectors: { text: new Float32Array(5).fill(9) } } }))
  const gone: ContentRecord[] = content.slice(0, 5).map(({ itemId }) => ({ itemId, content: null }))
  const replaced = await distillOffline({ interactions: [interactions], content: [wrong, content, gone], options })
  const never = await distillOffline({ interactions: [interactions], content: [content.slice(5)], options })
  deepStrictEqual(replaced, never)
  strictEqual(never.report.items, 25)
  ok(never.report.dropped > 0)
})

test('filtered sets give rows of their own beside the plain ones', async () => {
  const samples = { ...options.samples, marks: { candidates: 40, minKinds: 1 } }
  const { report } = await distillOffline({
    interactions: [interactions],
    content: [content],
    options: { ...options, samples, sets: { sets: ['plain', 'collaborative-single', 'content-multi'] } },
  })
  const plain = (await distillOffline({ interactions: [interactions], content: [content], options })).report
  strictEqual(report.samples, plain.samples)
  strictEqual(report.sets.plain!.rows, plain.rows)
  strictEqual(report.rows, report.sets.plain!.rows + report.sets['collaborative-single']!.rows + report.sets['content-multi']!.rows)
  ok(report.sets['collaborative-single']!.rows > 0 && report.steps > plain.steps)
})

test('rows that had nothing to be told apart from are in the report', async () => {
  const oneUser = interactions.map((row) => ({ ...row, userId: 'u' }))
  const { report } = await distillOffline({ interactions: [oneUser], content: [content], options })
  const { steps, withoutNegatives } = report.stages[0]!.sources['seq2item']!
  deepStrictEqual([steps, withoutNegatives], [report.steps, 3 * report.rows])
  ok(withoutNegatives > 0)
})

test('nothing to train on is refused with a way out', async () => {
  const once = interactions.slice(0, 1)
  await rejects(distillOffline({ interactions: [once], content: [content], options }), {
    code: 'SIDESTREAM_ITEMS_TOO_FEW',
    message: /no user liked two items that have content/,
  })
})

test('a run that needs more memory than there is is refused while it reads, with the arithmetic', async () => {
  const records = { interactions: [interactions], content: [content], options }
  const need = { heapBytes: 50_000_000 + 330 * interactions.length + 900 * content.length, totalBytes: 1e9 }
  strictEqual((await distillOffline({ ...records, memory: need })).report.interactions, interactions.length)
  for (const [memory, message] of [
    [
      { ...need, heapBytes: need.heapBytes - 1 },
      /need a heap of .* and Node allows .*: set NODE_OPTIONS=--max-old-space-size=\d+, or give fewer/,
    ],
    [{ ...need, totalBytes: need.heapBytes }, /need .* and there are .* of memory: take a larger machine/],
  ] as const) {
    await rejects(distillOffline({ ...records, memory }), { code: 'SIDESTREAM_INPUT_TOO_LARGE', message })
  }
})

test('embedding streams items through the head; what no modality describes is left out', async () => {
  const { checkpoint } = await distillOffline({ interactions: [interactions], content: [content], options })
  const bare: ContentRecord = { itemId: 'bare', content: { itemId: 'bare', eventTs: 1, vectors: {} } }
  const embed = async (batches: ContentRecord[][]) => {
    const skipped: string[] = []
    const rows = new Map<string, number[]>()
    let next = 0
    for await (const { start, ids, dim, vectors } of embedOffline({
      head: checkpoint.head,
      content: batches,
      options: { batchRows: 8 },
      onSkipped: (id) => skipped.push(id),
    })) {
      strictEqual(start, next)
      next += ids.length
      ids.forEach((id, i) => rows.set(id, [...vectors.subarray(i * dim, (i + 1) * dim)]))
    }
    return { rows, skipped }
  }
  const all = await embed([[...content.slice(0, 3), bare], content.slice(3)])
  deepStrictEqual(all.skipped, ['bare'])
  deepStrictEqual(
    [...all.rows.keys()],
    content.map(({ itemId }) => itemId),
  )
  for (const row of all.rows.values()) ok(Math.abs(Math.hypot(...row) - 1) < 1e-6)
  deepStrictEqual((await embed(inBatches(content, 1))).rows, all.rows)
})
