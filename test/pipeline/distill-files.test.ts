/** Offline runs whose input is odd: each costs what it must, and says so. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { items, startTs, writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { distillFiles, embedFiles } from '../../pipeline/index.ts'
import type { DistillFiles } from '../../pipeline/index.ts'
import { checkConfig } from '../../schemas/index.ts'
import type { Config } from '../../schemas/index.ts'

let home = ''
before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-offline-'))
  await writeContent(home)
  await writeInteractions(home)
})
after(() => rm(home, { recursive: true, force: true }))

function config(training: object = {}, groups: object = {}): Config {
  return checkConfig({
    content: { modalities: { text: { dim: 12 }, image: { dim: 8 } } },
    interactions: { positiveBehaviors: ['click', 'like'], otherBehaviors: ['skip'] },
    head: { dim: 8, prefixes: [8], hidden: 8 },
    training: { batch: 64, epochs: 1, ...training },
    ...groups,
  })
}

let runs = 0
const filesOf = (own: Partial<DistillFiles> = {}): DistillFiles => ({
  interactions: join(home, 'interactions.csv'),
  content: join(home, 'content.parquet'),
  out: join(home, `run-${runs++}`),
  holdOut: 0,
  steps: 4,
  ...own,
})

/** Writes a file of interactions, one row per given user and item, a second apart. */
async function interactionsOf(name: string, rows: readonly (readonly [user: string, item: string])[]): Promise<string> {
  const lines = rows.map(([user, item], i) => `${user},${item},${startTs + 1000 * (i + 1)},click`)
  await writeFile(join(home, name), `user_id,item_id,ts,behaviors\n${lines.join('\n')}\n`)
  return join(home, name)
}

/** Writes a file of content, text alone, from each item's numbers. */
async function contentOf(name: string, vectors: readonly (readonly number[])[]): Promise<string> {
  const lines = vectors.map((vector, i) => `item-${i},${startTs},${vector.join('|')}`)
  await writeFile(join(home, name), `item_id,ts,text\n${lines.join('\n')}\n`)
  return join(home, name)
}

test('a diverging loss stops, and the last good head is kept to begin from', async () => {
  const files = filesOf({ steps: 40, keepEvery: 2 })
  const sane = config()
  // No file may say so: it is what a bug or a strange catalogue does.
  const wild = { ...sane, training: { ...sane.training, learningRate: 1e30 } }
  await rejects(distillFiles(wild, files), (error: Error & { code: string }) => {
    match(
      error.message,
      /diverged at step \d+.*kept in .*: begin from its last good head with `--start .*last-good\.artifact --out OTHER`, with a lower `learningRate`/,
    )
    return error.code === 'SIDESTREAM_TRAINING_DIVERGED'
  })
  ok(existsSync(join(files.out, 'last-good.artifact')) && !existsSync(join(files.out, 'head.artifact')))
  const again = await distillFiles(sane, filesOf({ start: files.out }))
  strictEqual(again.report.steps, 4)
  ok(again.report.passLosses.every(Number.isFinite))
})

test('the head of a moment is judged as a finished one: refused or not, under a name that says so, until the run goes on', async () => {
  const strict = config({}, { guard: { gate: { recall1: { min: 0.99 } }, minEvents: 1 } })
  const through = filesOf({ holdOut: 0.1, steps: 6 })
  await rejects(distillFiles(strict, through), { code: 'SIDESTREAM_GUARD_REFUSED' })
  const files = { ...through, out: `${through.out}-stopped`, judgeStopped: () => true }
  let asked = 0
  await rejects(distillFiles(strict, { ...files, shouldStop: () => asked++ > 2 }), (error: Error & { code: string }) => {
    match(error.message, /the head after 2 of 6 steps was refused: recall1 .*kept in .* as refused-unfinished-head.*--resume goes on/)
    return error.code === 'SIDESTREAM_GUARD_REFUSED'
  })
  const [refused, unfinished, ended] = ['refused-unfinished-head', 'unfinished-head', 'refused-head'].map((name) =>
    join(files.out, `${name}.artifact`),
  ) as [string, string, string]
  deepStrictEqual([refused, unfinished, ended].map(existsSync), [true, false, false])
  const embed = { head: files.out, content: files.content, out: join(home, 'stopped.f32') }
  await rejects(embedFiles(embed), /was refused .*by its name, .*refused-unfinished-head\.artifact/)
  strictEqual(await embedFiles({ ...embed, refused: true }), items)
  const lenient = config({}, { guard: { mode: 'report', minEvents: 1 } })
  asked = 0
  const second = await distillFiles(lenient, { ...files, resume: true, shouldStop: () => asked++ > 2 })
  deepStrictEqual(second.report.stopped, { stage: 'collaboration', done: 4, of: 6 })
  deepStrictEqual([second.head, ...[refused, unfinished, ended].map(existsSync)], [unfinished, false, true, false])
  await rejects(distillFiles(strict, { ...files, resume: true }), { code: 'SIDESTREAM_GUARD_REFUSED' })
  deepStrictEqual([refused, unfinished, ended].map(existsSync), [false, false, true])
  for (const part of ['head.tensors', 'training.tensors', 'head.onnx'])
    deepStrictEqual(await readFile(join(ended, part)), await readFile(join(through.out, 'refused-head.artifact', part)), part)
})

test('users of one liked item, unknown items and a single user: counted, trained on what is left', async () => {
  const once = Array.from({ length: 20 }, (_, i) => [`once-${i}`, `item-${i}`] as const)
  const unknown = Array.from({ length: 6 }, (_, i) => ['stranger', `gone-${i}`] as const)
  const one = Array.from({ length: 30 }, (_, i) => ['only', `item-${i}`] as const)
  const interactions = await interactionsOf('odd.csv', [...once, ...unknown, ...one])
  const { report } = await distillFiles(config(), filesOf({ interactions }))
  deepStrictEqual([report.samples, report.dropped], [29, 5])
  // Rows of one user are positives of each other: nothing is left to push away, and nothing breaks.
  strictEqual(report.steps, 1)
  ok(report.passLosses.every(Number.isFinite))
})

test('only unknown items, or one interaction a user: refused with what to look at', async () => {
  for (const [name, rows, message] of [
    ['strange.csv', Array.from({ length: 9 }, (_, i) => ['user', `gone-${i}`] as const), /such as gone-0; .*check the ids/],
    ['single.csv', Array.from({ length: 9 }, (_, i) => [`user-${i}`, `item-${i}`] as const), /no user liked two items that have content/],
  ] as const) {
    const interactions = await interactionsOf(name, rows)
    await rejects(distillFiles(config(), filesOf({ interactions })), {
      code: 'SIDESTREAM_ITEMS_TOO_FEW',
      message,
    })
  }
})

test('an item that comes a thousand times, in a history and as a target, is trained on like any other', async () => {
  const rows = Array.from({ length: 1000 }, (_, i) => [`user-${i % 40}`, i % 3 === 0 ? 'item-1' : `item-${i % items}`] as const)
  const { report } = await distillFiles(config(), filesOf({ interactions: await interactionsOf('same.csv', rows) }))
  ok(report.samples > 0 && report.passLosses.every(Number.isFinite))
})

test('vectors of zeros are counted and embedded; an item without any vector is left out, one too long is refused by name', async () => {
  const zeros = Array.from({ length: 12 }, () => 0)
  const vectors = Array.from({ length: items }, (_, i) =>
    i < 3 ? zeros : Array.from({ length: 12 }, (_d, d) => ((i * 7 + d * 3) % 11) - 5),
  )
  const files = filesOf({ content: await contentOf('zeros.csv', vectors) })
  const { report } = await distillFiles(config(), files)
  strictEqual(report.zeroVectors, 3)
  strictEqual(await embedFiles({ head: files.out, content: files.content, out: join(home, 'zeros.parquet') }), items)
  const bare = await contentOf('bare.csv', [[], ...vectors.slice(1)])
  const { report: without } = await distillFiles(config(), filesOf({ content: bare }))
  deepStrictEqual([without.items, without.leftOut['content']!.rows], [items - 1, 1])
  match(without.leftOut['content']!.first, /bare\.csv.*row 1.*at least one modality must have a vector/)
  const long = await contentOf('long.csv', [zeros.map(() => 3e38), ...vectors.slice(1)])
  await rejects(distillFiles(config(), filesOf({ content: long })), {
    code: 'SIDESTREAM_FILE_INVALID',
    message: /long\.csv: row 1, column text: .*at most 1000000000000 in size.*scale the vectors/,
  })
})

test('a source without rows is passed over and counted; ID embeddings that are no numbers are left out and named', async () => {
  const embeddings = join(home, 'ids.csv')
  await writeFile(
    embeddings,
    `entity,entity_id,ts,vector,exposures\n${['NaN|1|2', '0|0|0', '1|2|3', '1|2'].map((vector, i) => `item,item-${i},${startTs},${vector},50`).join('\n')}\n`,
  )
  const training = {
    teachers: { item: {} },
    sources: { seq2item: {}, tags: { kind: 'pairs' }, ids: { kind: 'ids', entities: ['item'] } },
    stages: [{ name: 'tags', when: 'start', sources: ['tags'] }, { name: 'all' }],
  }
  const { report } = await distillFiles(config(training), filesOf({ idEmbeddings: embeddings }))
  deepStrictEqual(
    report.stages.map(({ name, steps }) => [name, steps]),
    [
      ['tags', 0],
      ['all', 4],
    ],
  )
  strictEqual(report.sources['tags']!.rows, 0)
  deepStrictEqual([report.leftOut['idEmbeddings']!.rows, report.idEmbeddings.refused, report.sources['ids']!.rows], [1, 2, 1])
})

test('pairs of a source that nobody trains on, and a source of ids without embeddings, are told', async () => {
  const pairs = join(home, 'pairs.csv')
  await writeFile(pairs, 'source,query_id,target_id\ntags,item-1,item-2\ntgas,item-1,item-3\ntgas,item-2,item-4\n')
  const training = {
    teachers: { item: {} },
    sources: { seq2item: {}, tags: { kind: 'pairs' }, ids: { kind: 'ids', entities: ['item'] } },
  }
  const { report } = await distillFiles(config(training), filesOf({ pairs }))
  deepStrictEqual(report.unusedPairs, { tgas: 2 })
  deepStrictEqual(report.sources['ids'], { kind: 'ids', rows: 0, unknown: items, heldOut: 0 })
})

test('held-out pairs are judged by the tolerance of the configuration', async () => {
  const pairs = join(home, 'close.csv')
  const rows = Array.from({ length: 60 }, (_, i) => `tags,item-${i % items},item-${(i * 7 + 1) % items}`)
  await writeFile(pairs, `source,query_id,target_id\n${rows.join('\n')}\n`)
  const guard = { mode: 'report', pairRecallTolerance: 0.5, popAucTolerance: 0.25, recallTolerance: 0.125, minEvents: 1 }
  const sources = { seq2item: {}, tags: { kind: 'pairs' }, near: { kind: 'pairs', from: 'content' } }
  const files = (name: string): DistillFiles => filesOf({ pairs: join(home, name), holdOut: 0.3 })
  const { report } = await distillFiles(config({ sources }, { guard }), files('close.csv'))
  const { clauses } = report.judged!.judgement
  const toleranceOf = (name: string) => clauses.find((clause) => clause.name === name)?.tolerance
  // Pairs that nobody trains on are counted, and judge nothing: neither those of an unknown name, nor of a source made of content.
  const others = rows.flatMap((row) => ['tgas', 'near'].map((name) => row.replace('tags', name)))
  await writeFile(join(home, 'more.csv'), `source,query_id,target_id\n${[...rows, ...others].join('\n')}\n`)
  const more = (await distillFiles(config({ sources }, { guard }), files('more.csv'))).report
  const kept = Object.values(more.unusedPairs)
  ok(kept.length === 2 && kept.every((count) => count > 40), JSON.stringify(more.unusedPairs))
  deepStrictEqual(more.judged!.judgement, report.judged!.judgement)
  deepStrictEqual(['content-pair-recall-50', 'cold-popularity-auc', 'warm-recall-10'].map(toleranceOf), [0.5, 0.25, 0.125])
})

test('the kind that weighs a source of ids is the first of all when it has it, in any order; other sources do without', async () => {
  const embeddings = join(home, 'weighed.csv')
  const lines = [
    ...Array.from({ length: 4 }, (_, i) => `item,item-${i},${startTs},1|${i},50`),
    ...Array.from({ length: 9 }, (_, i) => `twin,item-${i},${startTs},1|2|${i},50`),
  ]
  await writeFile(embeddings, `entity,entity_id,ts,vector,exposures\n${lines.join('\n')}\n`)
  const sources = {
    seq2item: {},
    listed: { kind: 'ids', entities: ['item', 'twin'] },
    turned: { kind: 'ids', entities: ['twin', 'item'] },
    other: { kind: 'ids', entities: ['twin'] },
  }
  const rowsOf = async (teachers: object): Promise<readonly number[]> => {
    const { report } = await distillFiles(config({ teachers, sources }), filesOf({ idEmbeddings: embeddings }))
    return ['listed', 'turned', 'other'].map((name) => report.sources[name]!.rows)
  }
  deepStrictEqual(await rowsOf({ item: {}, twin: {} }), [4, 4, 9])
  deepStrictEqual(await rowsOf({ twin: {}, item: {} }), [9, 9, 9])
  await writeFile(embeddings, `entity,entity_id,ts,vector,exposures\n${lines.slice(4).join('\n')}\n`)
  deepStrictEqual(await rowsOf({ item: {}, twin: {} }), [0, 0, 9])
})

test('all of the time held out, or a directory that has a head, is said before anything is trained', async () => {
  const rows = Array.from({ length: 30 }, (_, i) => [`user-${i % 3}`, `item-${i}`] as const)
  const text = (await readFile(await interactionsOf('tied.csv', rows), 'utf8')).replaceAll(/,\d{13},/g, `,${startTs + 5},`)
  await writeFile(join(home, 'tied.csv'), text)
  const interactions = join(home, 'tied.csv')
  await rejects(
    distillFiles(config(), filesOf({ interactions, holdOut: 0.2 })),
    /all samples are held out, from .*Z on; hold out a smaller share/,
  )
  const files = filesOf()
  await distillFiles(config(), files)
  await rejects(distillFiles(config(), files), { code: 'SIDESTREAM_USAGE_INVALID', message: /holds a head already/ })
})
