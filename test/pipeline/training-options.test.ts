/** Every option of `training` that the paper leaves open does something to the training, offline and in rounds. */
import { deepStrictEqual, notStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { contentCosine, decodeTensors } from '../../distill/index.ts'
import type { ContentVectors } from '../../distill/index.ts'
import { distillFiles } from '../../pipeline/index.ts'
import type { DistillReport } from '../../pipeline/index.ts'
import { checkConfig } from '../../schemas/index.ts'
import type { Config, ItemContent, SourceEvent } from '../../schemas/index.ts'
import { writeIdEmbeddings, writePairs } from '../../examples/small-shop/teaching-files.ts'
import { clicks, contentOf, hourMs, itemIds, latenessMs, onDisk, startTs, TestProject, wantedItems } from './fixture.ts'

let home = ''
before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-options-'))
  await writeContent(home)
  await writeInteractions(home, 500)
  await writeIdEmbeddings(home)
  await writePairs(home)
})
after(() => rm(home, { recursive: true, force: true }))

let runs = 0
/** A short run on the small shop with these options of `training`. */
async function distill(
  training: object,
  holdOut = 0,
  sequences: object = {},
): Promise<{ readonly report: DistillReport; readonly out: string }> {
  const config = checkConfig({
    content: { modalities: { text: { dim: 12 }, image: { dim: 8 } } },
    interactions: { positiveBehaviors: ['click', 'like'], otherBehaviors: ['skip'] },
    head: { dim: 8, prefixes: [4, 8], hidden: 8 },
    training: { batch: 32, learningRate: 0.01, ...training },
    guard: { mode: 'report', minEvents: 1 },
    sequences,
  })
  const out = join(home, `run-${runs++}`)
  const { report } = await distillFiles(config, {
    interactions: join(home, 'interactions.csv'),
    content: join(home, 'content.parquet'),
    idEmbeddings: join(home, 'id-embeddings.csv'),
    pairs: join(home, 'pairs.csv'),
    out,
    holdOut,
  })
  return { report, out }
}

const lossesOf = async (training: object): Promise<readonly number[]> => (await distill(training)).report.trace.steps.loss
const oneStep = (source: string, options: object): object => ({ sources: { [source]: options }, stages: [{ name: 'one', steps: 1 }] })

test('training.prefixWeights weighs the contrast of each prefix, in sources of every kind', async () => {
  for (const training of [
    oneStep('seq2item', {}),
    oneStep('similar', { kind: 'pairs', losses: { modality: 0, lateFusion: 0 } }),
    { teachers: { item: {} }, ...oneStep('ids', { kind: 'ids', entities: ['item'] }) },
  ]) {
    const first = async (prefixWeights: readonly number[] | null): Promise<number> => (await lossesOf({ ...training, prefixWeights }))[0]!
    const [plain, short, both] = [await first(null), await first([1, 0]), await first([0.5, 3])]
    const full = plain - short
    ok(short > 0 && full > 0 && Math.abs(short - full) > 1e-3, `${short} and ${full}`)
    ok(Math.abs(both - (0.5 * short + 3 * full)) < 1e-5 * both)
  }
})

test('training.pooler is the shape of the transformer that pools histories', async () => {
  const steps = { sources: { seq2item: { pooler: 'transformer' } }, stages: [{ name: 'some', steps: 4 }] }
  const { report, out } = await distill({ ...steps, pooler: { layers: 2, width: 12, heads: 3 } })
  const tensors = decodeTensors(await readFile(join(out, 'head.artifact', 'training.tensors')))
  const names = [...tensors.keys()].filter((name) => /^pooler\.\d+\.query$/.test(name))
  deepStrictEqual(names.sort(), ['pooler.0.query', 'pooler.1.query'])
  deepStrictEqual(tensors.get('pooler.in')!.dims, [8, 12])
  const otherHeads = await lossesOf({ ...steps, pooler: { layers: 2, width: 12, heads: 4 } })
  strictEqual(otherHeads[0], report.trace.steps.loss[0], 'it starts as the mean pool')
  notStrictEqual(otherHeads[3], report.trace.steps.loss[3])
})

test('training.balance decides how sources are compared with the held-out rows', async () => {
  const balanced = {
    sources: { seq2item: {}, similar: { kind: 'pairs' } },
    stages: [{ name: 'balanced', balance: 'tasks', balanceTemperature: 0.001, steps: 1 }],
  }
  const balanceOf = async (balance: object) => (await distill({ ...balanced, balance }, 0.1)).report.trace.balances[0]!
  const plain = await balanceOf({})
  deepStrictEqual(plain, await balanceOf({ vectors: 10_000, clusters: 64, epsilon: 0.05, iterations: 2000, tolerance: 1e-6, floor: 0.02 }))
  strictEqual(Math.min(...plain.weights).toFixed(6), '0.020000')
  strictEqual(Math.min(...(await balanceOf({ floor: 0.3 })).weights).toFixed(6), '0.300000')
  strictEqual((await balanceOf({ iterations: 3, tolerance: 0 })).iterations, 3)
  ok((await balanceOf({ tolerance: 0.1 })).iterations < plain.iterations)
  ok((await balanceOf({ epsilon: 5 })).means[0]! < plain.means[0]!, 'farther from the best match')
  strictEqual((await balanceOf({ clusters: 1 })).iterations, 1, 'one cluster has one plan')
  notStrictEqual((await balanceOf({ vectors: 40 })).means[0], plain.means[0])
})

test('training.mining decides which rows give lambda*, and which items hard negatives are chosen from', async () => {
  const mines = { stages: [{ name: 'refined', steps: 1, hardNegatives: 4 }] }
  const minedOf = async (mining: object) => (await distill({ ...mines, mining })).report.trace.mined[0]!
  const plain = await minedOf({})
  deepStrictEqual(plain, await minedOf({ sampleRows: 2048, poolItems: 2048 }))
  ok((await minedOf({ sampleRows: 8 })).lambda < plain.lambda, 'lambda* grows with its sample')
  const few = await minedOf({ poolItems: 2 })
  strictEqual(few.lambda, plain.lambda)
  ok(few.empty > plain.empty, 'two items fill at most two of four places')
})

test('warmupShare of a stage decides how long its rate rises, on every curve', async () => {
  for (const schedule of ['one-cycle', 'cosine', 'constant']) {
    const losses = (own: object): Promise<readonly number[]> => lossesOf({ stages: [{ name: 'warm', steps: 20, schedule, ...own }] })
    const [plain, slow] = [await losses({}), await losses({ warmupShare: 0.9 })]
    strictEqual(slow[0], plain[0])
    notStrictEqual(slow[4], plain[4], schedule)
    deepStrictEqual(await losses({ warmupShare: schedule === 'one-cycle' ? 0.3 : 0.05 }), plain)
  }
})

test('cosentTemperature of a graded source changes the loss of the order of its pairs alone', async () => {
  const termsOf = async (own: object): Promise<Readonly<Record<string, number>>> =>
    (await distill(oneStep('graded', { kind: 'pairs', scored: true, ...own }))).report.trace.terms[0]!.sums
  const [plain, sharp] = [await termsOf({}), await termsOf({ cosentTemperature: 0.01 })]
  ok(sharp['cosent']! > plain['cosent']!, 'pairs in the wrong order cost more')
  strictEqual(sharp['nce'], plain['nce'])
})

test('patterns of a source of pairs are one more term of its loss, with its weight', async () => {
  const patterns = [{ query: 'image', target: 'fused' }]
  const first = async (own: object) => (await distill(oneStep('similar', { kind: 'pairs', ...own }))).report.trace
  const [plain, one, three] = [await first({}), await first({ patterns }), await first({ patterns, losses: { patterns: 3 } })]
  const term = one.terms[0]!.sums['patterns']!
  ok(term > 0 && plain.terms[0]!.sums['patterns'] === undefined)
  for (const [trace, weight] of [
    [one, 0.2],
    [three, 3],
  ] as const)
    ok(Math.abs(trace.steps.loss[0]! - plain.steps.loss[0]! - weight * term) < 1e-4)
})

test('modalityDropout of a source leaves modalities out while training', async () => {
  const first = async (modalityDropout: number): Promise<number> => (await lossesOf(oneStep('seq2item', { modalityDropout })))[0]!
  const [plain, some, most] = [await first(0), await first(0.2), await first(0.9)]
  ok(plain !== some && some !== most, `${plain} ${some} ${most}`)
  strictEqual(await first(0.2), some)
})

test('temperatures and losses of a stage are those of its sources there, and nowhere else', async () => {
  const graded = { kind: 'pairs', scored: true }
  const runOf = (source: object, ...stages: object[]): Promise<readonly number[]> =>
    lossesOf({ sources: { graded: { ...graded, ...source } }, stages: stages.map((own, i) => ({ name: `s${i}`, steps: 3, ...own })) })
  for (const [ofSource, ofStage] of [
    [{ temperature: 0.05 }, { temperatures: { graded: 0.05 } }],
    [{ losses: { cosent: 3, modality: 0 } }, { losses: { graded: { cosent: 3, modality: 0 } } }],
    [{ losses: { cosent: 0 } }, { losses: { graded: { cosent: 0 } } }],
  ]) {
    const [plain, wanted, staged] = [await runOf({}, {}, {}), await runOf(ofSource!, {}, {}), await runOf({}, ofStage!, ofStage!)]
    ok(plain.every((loss, step) => loss !== wanted[step]))
    deepStrictEqual(staged, wanted, 'as if the source had it')
    const later = await runOf({}, {}, ofStage!)
    deepStrictEqual(later.slice(0, 3), plain.slice(0, 3))
    ok(later.slice(3).every((loss, step) => loss !== plain[3 + step]))
    const earlier = await runOf({}, ofStage!, {})
    ok(earlier[3] !== plain[3] && earlier[3] !== wanted[3], 'another head, by the loss of the source')
    deepStrictEqual(await runOf(ofSource!, { temperatures: { graded: 0.2 }, losses: { graded: { cosent: 0.5, modality: 0.2 } } }, {}), [
      ...plain.slice(0, 3),
      ...later.slice(3),
    ])
  }
})

test('a learned temperature waits where it was while a stage has its own', async () => {
  const sources = { graded: { kind: 'pairs', scored: true, learnTemperature: true } }
  const stage = (name: string, own: object = {}): object => ({ name, steps: 4, ...own })
  const held = { temperatures: { graded: 0.05 } }
  const saved = async (...stages: object[]) => {
    const { report, out } = await distill({ sources, stages })
    const tensors = decodeTensors(await readFile(join(out, 'head.artifact', 'training.tensors')))
    return {
      taus: report.trace.steps.tau,
      learned: tensors.get('logTau.graded')!.data[0],
      cosent: tensors.get('logTau.graded.cosent')!.data[0],
    }
  }
  const [first, both] = [await saved(stage('learns')), await saved(stage('learns'), stage('holds', held))]
  notStrictEqual(first.taus[3], first.taus[0])
  ok(both.taus.slice(4).every((tau) => Math.abs(tau! - 0.05) < 1e-7))
  strictEqual(both.learned, first.learned)
  notStrictEqual(both.cosent, first.cosent, 'that of CoSENT is learned on')
})

test('maskHistory of a source decides which rows are negatives of each other', async () => {
  const first = async (own: object): Promise<number> => (await lossesOf(oneStep('seq2item', own)))[0]!
  const plain = await first({})
  strictEqual(await first({ maskHistory: true }), plain)
  ok((await first({ maskHistory: false })) > plain, 'more negatives')
})

test('sequences.contentCutFrom: the pairs of a source say how alike content must be, offline and in rounds', async (t) => {
  const sources = { seq2item: {}, similar: { kind: 'pairs' }, near: { kind: 'pairs', from: 'content' } }
  const filters = { sets: ['plain', 'content-single'], minKinds: 1, minItems: 1 }
  const passed = async (own: object): Promise<number> => {
    const { report } = await distill({ sources, stages: [{ name: 'one', steps: 1 }] }, 0, { ...filters, ...own })
    const { kept, surplus } = report.sets['content-single']!
    return kept + surplus
  }
  const [plain, similar, near, all] = [
    await passed({}),
    await passed({ contentCutFrom: 'similar' }),
    await passed({ contentCutFrom: 'near' }),
    await passed({ contentCutFrom: 'near', contentQuantile: 0 }),
  ]
  // Users like two topics; pairs are of one, and nearest neighbors are the closest of it.
  ok(near < similar && similar < plain && near < all, `${near} ${similar} ${plain} ${all}`)

  const known = itemIds(wantedItems)
  const vectorsOf = (id: string): ContentVectors => (contentOf(id, startTs).record as ItemContent).vectors
  const alike = known.slice(1).map((id) => ({ id, cosine: contentCosine(vectorsOf(known[0]!), vectorsOf(id))! }))
  alike.sort((a, b) => a.cosine - b.cosine)
  /** Items of histories that were not alike enough; the source `tags` has one pair, which all others must be as alike as. */
  const leftOut = async (contentCutFrom: string, tagged: string): Promise<number> => {
    const training = { latenessMs, idleMs: hourMs, batch: 16, sources: { clicks: {}, near: sources.near, tags: { kind: 'pairs' } } }
    const it = await TestProject.open(t, { changes: { training, sequences: { ...filters, contentCutFrom } } })
    const pairOf = (targetId: string, eventTs: number): SourceEvent => ({
      topic: 'item-pairs',
      eventTs,
      record: { source: 'tags', queryId: known[0]!, targetId, eventTs },
    })
    await it.bootstrap()
    await it.feed(pairOf('nothing', startTs + hourMs + latenessMs))
    await it.feed(clicks(48, startTs + hourMs, known), pairOf(tagged, startTs + hourMs))
    await it.feed(pairOf('nothing', startTs + 2 * hourMs + latenessMs))
    await it.advance(startTs + 2 * hourMs)
    const { sets } = it.control.all('trained')[0]!.body
    await it.stop()
    return sets!['content-single']!['otherContent']!
  }
  const [farthest, closest] = [alike[0]!.id, alike.at(-1)!.id]
  const [far, close, nearest] = [await leftOut('tags', farthest), await leftOut('tags', closest), await leftOut('near', closest)]
  ok(far < nearest && nearest < close, `${far} ${nearest} ${close}`)
})

test('rounds train with them too, and a pooler of other shape is refused by name when training goes on', async (t) => {
  const known = itemIds(wantedItems)
  const training = {
    latenessMs,
    idleMs: hourMs,
    batch: 16,
    warmupSteps: 2,
    learningRate: 0.02,
    sources: { clicks: { pooler: 'transformer' } },
    stages: [{ name: 'mined', hardNegatives: 2, steps: 3, temperatures: { clicks: 0.05 } }],
    prefixWeights: [0, 2],
    pooler: { layers: 1, width: 6, heads: 2 },
    mining: { sampleRows: 5, poolItems: 3 },
  }
  const it = await TestProject.open(t, { changes: { ...onDisk, training } })
  await it.bootstrap()
  await it.feed(clicks(48, startTs + hourMs, known))
  await it.advance(startTs + 2 * hourMs)
  const [trained] = it.control.all('trained').map(({ body }) => body)
  strictEqual(trained!.losses.length, 3)
  strictEqual(trained!.mined![0]!.positives, 5)
  ok(Math.abs(trained!.sources!['clicks']!.tau! - 0.05) < 1e-7)
  const newest = (await it.project.artifacts.list('heads/round-')).at(-1)!
  const { parts } = await it.project.artifacts.read(newest)
  const { options } = JSON.parse(Buffer.from(parts.get('training.json')!).toString()) as { options: Record<string, unknown> }
  deepStrictEqual([options['prefixWeights'], options['pooler']], [training.prefixWeights, training.pooler])
  await it.stop()

  const wider = (config: Config): Config => ({ ...config, training: { ...config.training, pooler: { layers: 1, width: 8, heads: 2 } } })
  await it.start({ adjust: wider })
  await rejects(
    async () => {
      await it.feed(clicks(48, startTs + 2 * hourMs, known))
      await it.advance(startTs + 3 * hourMs)
    },
    {
      code: 'SIDESTREAM_SHAPE_MISMATCH',
      message: /width 6, layers 1, heads 2, and width 8, layers 1, heads 2 is asked for: set `training\.pooler` back/,
    },
  )
})
