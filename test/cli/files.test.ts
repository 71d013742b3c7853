/** Commands over files: distill, embed, auc, and an import that is cut short. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { InferenceSession, Tensor } from 'onnxruntime-node'

import { readContent, readVectors } from '../../schemas/index.ts'
import type { VectorBatch } from '../../schemas/index.ts'
import { noTerminal, run, runFailing, runJson, runOnTerminal, start } from './command.ts'
import { interactions, items, writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { noPython, publishedByPython } from '../distill/python-onnx.ts'
import { writeConfig } from './shop.ts'

let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-cli-'))
  await writeConfig(home)
  await writeContent(home)
  await writeInteractions(home)
})

after(() => rm(home, { recursive: true, force: true }))

async function vectorsOf(file: string): Promise<VectorBatch> {
  for await (const batch of readVectors(join(home, file))) return batch
  throw new Error(`${file} is empty`)
}

/** The published vectors of `content.parquet` by onnxruntime alone, from what the file of `distill` says of itself. */
async function publishedByOnnx(model: string): Promise<Float32Array> {
  const session = await InferenceSession.create(model)
  const { text, image, presence } = await contentRows()
  const { published } = await session.run({
    content_text: new Tensor('float32', text, [items, 12]),
    content_image: new Tensor('float32', image, [items, 8]),
    presence: new Tensor('float32', presence, [items, 2]),
  })
  return published!.data as Float32Array
}

/** `content.parquet` as the model takes it: zeros where a modality is absent. */
async function contentRows(): Promise<Record<'text' | 'image' | 'presence', Float32Array>> {
  const [text, image] = [new Float32Array(items * 12), new Float32Array(items * 8)]
  const presence = new Float32Array(items * 2)
  let row = 0
  for await (const batch of readContent(join(home, 'content.parquet'), { text: { dim: 12 }, image: { dim: 8 } })) {
    for (const { content } of batch) {
      for (const [m, [name, target, dim]] of (
        [
          ['text', text, 12],
          ['image', image, 8],
        ] as const
      ).entries()) {
        const vector = content!.vectors[name]
        if (vector === undefined) continue
        target.set(vector, row * dim)
        presence[row * 2 + m] = 1
      }
      row++
    }
  }
  return { text, image, presence }
}

test('distill writes a head; embed and plain onnxruntime read the same vectors from it', async () => {
  const distill = ['distill', '--interactions', 'interactions.csv', '--content', 'content.parquet', '--out', 'head']
  const report = await runJson(distill, home)
  deepStrictEqual([report['items'], report['interactions'], report['verdict']], [items, interactions, 'pass'])
  const losses = report['passLosses'] as number[]
  ok(losses[1]! < losses[0]!, 'the second pass does better than the first')
  const again = await runFailing(distill, home, 2)
  match(again.message, /head holds a head already/)

  deepStrictEqual(await runJson(['embed', '--head', 'head', '--content', 'content.parquet', '--out', 'all.f32'], home), {
    out: 'all.f32',
    items,
    leftOut: {},
  })
  const { ids, dim, vectors } = await vectorsOf('all.f32')
  deepStrictEqual([ids[7], dim], ['item-7', 32])
  const published = await publishedByOnnx(join(home, report['onnx'] as string))
  strictEqual(published.length, vectors.length)
  let worst = 0
  vectors.forEach((x, i) => (worst = Math.max(worst, Math.abs(x - published[i]!))))
  ok(worst < 1e-6, `largest difference ${worst}`)
})

test(
  'Python reads the head that distill exported: the vectors of embed, also of items that lack a modality',
  { skip: noPython },
  async () => {
    const { text, image, presence } = await contentRows()
    ok(presence.includes(0), 'some items lack a modality')
    const rows = (values: Float32Array): number[][] => {
      const dim = values.length / items
      return Array.from({ length: items }, (_, item) => [...values.subarray(item * dim, (item + 1) * dim)])
    }
    const inputs = { content_text: rows(text), content_image: rows(image), presence: rows(presence) }
    const theirs = await publishedByPython(join(home, 'head', 'head.artifact', 'head.onnx'), inputs)
    const { vectors } = await vectorsOf('all.f32')
    strictEqual(theirs.length, vectors.length)
    let worst = 0
    vectors.forEach((x, i) => (worst = Math.max(worst, Math.abs(x - theirs[i]!))))
    ok(worst < 1e-6, `largest difference ${worst}`)
  },
)

test('embed writes a trained prefix as Parquet and refuses one that was not trained', async () => {
  const embed = (prefix: number, out: string): string[] => [
    'embed',
    '--head',
    'head',
    '--content',
    'content.parquet',
    '--prefix',
    String(prefix),
    '--out',
    out,
  ]
  strictEqual((await run(embed(8, 'short.parquet'), home)).stdout, `${items} vectors written to short.parquet\n`)
  const short = await vectorsOf('short.parquet')
  deepStrictEqual([short.ids.length, short.dim], [items, 16])
  match((await runFailing(embed(9, 'none.parquet'), home, 2)).message, /prefix 9 was not trained; choose one of 8, 16/)
  ok(!existsSync(join(home, 'none.parquet')))
})

test('on a terminal, distill and embed show how far they are; elsewhere and for programs they do not', { skip: noTerminal }, async () => {
  const distill = ['distill', '--interactions', 'interactions.csv', '--content', 'content.parquet', '--steps', '3']
  const trained = await runOnTerminal([...distill, '--out', 'shown'], home)
  strictEqual(trained.code, 0, trained.stdout)
  match(trained.stdout, /reading content\.parquet \[=*.*100%[\s\S]*reading interactions\.csv .*100%[\s\S]*training .*100% 3\/3, collab/)
  const embed = ['embed', '--head', 'shown', '--content', 'content.parquet', '--out', 'shown.f32']
  const embedded = await runOnTerminal(embed, home)
  match(embedded.stdout, new RegExp(`embedding .*100% ${items} items[\\s\\S]*${items} vectors written to shown\\.f32`))
  const quiet = await runOnTerminal([...embed, '--json'], home)
  deepStrictEqual(JSON.parse(quiet.stdout), { out: 'shown.f32', items, leftOut: {} })
  strictEqual((await run(embed, home)).stderr, '')
})

test('auc gives the golden figures', async () => {
  const golden = JSON.parse(await readFile(new URL('../golden/auc.json', import.meta.url), 'utf8')) as {
    inputs: { user: string[]; item: string[]; label: number[]; score_a: number[]; score_b: number[] }
    auc: Record<'a' | 'b', { auc: number; ties_between_classes: number }>
    probability: Record<'a' | 'b', { log_loss: number; rows_clipped: number }>
  }
  const { user, item, label, score_a, score_b } = golden.inputs
  const rows = label.map((_, i) => [user[i], item[i], label[i], score_a[i], score_b[i]].join(','))
  await writeFile(join(home, 'scores.csv'), `user_id,item_id,label,a,b\n${rows.join('\n')}\n`)
  const report = await runJson(['auc', '--in', 'scores.csv', '--scores', 'a,b', '--group', 'user_id', '--item', 'item_id'], home)
  const arms = report['arms'] as { score: 'a' | 'b'; auc: number; tiedPairs: number; logLoss: number; clippedRows: number }[]
  deepStrictEqual([report['rows'], report['groups'], report['items']], [60, new Set(user).size, new Set(item).size])
  for (const { score, auc, tiedPairs, logLoss, clippedRows } of arms) {
    ok(Math.abs(auc - golden.auc[score].auc) < 1e-12)
    ok(Math.abs(logLoss - golden.probability[score].log_loss) < 1e-12)
    deepStrictEqual([tiedPairs, clippedRows], [golden.auc[score].ties_between_classes, golden.probability[score].rows_clipped])
  }
  strictEqual(arms.length, 2)
})

test('a file that is missing, cut or of another kind is named with what is wrong', async () => {
  const whole = await readFile(join(home, 'content.parquet'))
  await writeFile(join(home, 'cut.parquet'), whole.subarray(0, whole.length / 2))
  const cases: [args: string[], code: string, message: RegExp][] = [
    [['import', '--content', 'nothing.parquet'], 'SIDESTREAM_FILE_UNREADABLE', /^nothing\.parquet: there is no such file/],
    [['import', '--content', 'cut.parquet'], 'SIDESTREAM_FILE_INVALID', /^cut\.parquet: cut short or damaged/],
    [['import', '--interactions', 'content.parquet'], 'SIDESTREAM_FILE_INVALID', /lacks the columns user_id, behaviors; it has item_id/],
  ]
  for (const [args, code, message] of cases) {
    const error = await runFailing(args, home, 1)
    strictEqual(error.code, code)
    match(error.message, message)
  }
})

test('an import that is killed goes on where each partition stopped: every row is in the log once', async () => {
  const rows = 20_000
  const scratch = await mkdtemp(join(tmpdir(), 'sidestream-cli-killed-'))
  try {
    await writeConfig(scratch)
    await writeInteractions(scratch, rows)
    const first = start(['import', '--interactions', 'interactions.csv'], scratch)
    // About 4 MB in all: long before they are written.
    await Promise.race([first.ended, grown(join(scratch, 'data', 'log', 'topics', 'interactions'), 200_000)])
    first.child.kill('SIGKILL')
    strictEqual((await first.ended).signal, 'SIGKILL')
    const second = await runJson(['import', '--interactions', 'interactions.csv'], scratch)
    strictEqual((second['appended'] as number) + (second['skipped'] as number), rows)
    ok((second['skipped'] as number) > 0, 'what was in the log is not appended again')
    ok((second['appended'] as number) > 0, 'the import was killed before its end')
    const status = await runJson(['run', '--until-idle', '--roles', 'ingest'], scratch)
    const { interactions: taken, duplicates } = status['ingest'] as { interactions: number; duplicates: number }
    deepStrictEqual([taken, duplicates], [rows, 0])
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
})

test('an import of a file that is cut says what the log has of it; mended, its rows come again and change nothing', async () => {
  const rows = 20_000
  const scratch = await mkdtemp(join(tmpdir(), 'sidestream-cli-cut-'))
  try {
    await writeConfig(scratch)
    await writeInteractions(scratch, rows)
    const file = join(scratch, 'interactions.csv')
    const whole = await readFile(file, 'utf8')
    await writeFile(file, whole.slice(0, whole.lastIndexOf(',')))
    const cut = ['import', '--interactions', 'interactions.csv']
    const first = await runFailing(cut, scratch, 1)
    strictEqual(first.code, 'SIDESTREAM_FILE_INVALID')
    const [, told] =
      /line \d+ is broken .* The (\d+) rows read before are in the log; a mended file counts as another one/.exec(first.message) ?? []
    const known = Number(told)
    ok(known > 0 && known < rows, first.message)
    strictEqual((await runFailing(cut, scratch, 1)).message, first.message, 'the cut file is not appended twice')
    await writeFile(file, whole)
    deepStrictEqual(await runJson(cut, scratch), { appended: rows, skipped: 0, refused: 0, ended: false })
    const status = await runJson(['run', '--until-idle', '--roles', 'ingest'], scratch)
    const { interactions: taken, duplicates } = status['ingest'] as { interactions: number; duplicates: number }
    deepStrictEqual([taken, duplicates], [rows, known])
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
})

/** Resolves when the segments of a topic hold that many bytes. */
async function grown(topic: string, least: number): Promise<void> {
  for (let bytes = 0; bytes < least; await pause(5)) {
    const files = await readdir(topic, { recursive: true, withFileTypes: true }).catch(() => [])
    const sizes = files
      .filter((file) => file.name.endsWith('.log'))
      .map(async (file) => (await stat(join(file.parentPath, file.name))).size)
    bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
  }
}

test('Ctrl-C ends a refresh between two rounds; given again it goes on', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'sidestream-cli-stopped-'))
  try {
    await writeConfig(scratch)
    await writeContent(scratch)
    await writeInteractions(scratch)
    await runJson(['import', '--content', 'content.parquet', '--interactions', 'interactions.csv', '--end'], scratch)
    const refresh = start(['refresh', '--id', 'stopped', '--json'], scratch)
    await refresh.says('round of')
    refresh.child.kill('SIGINT')
    const { code, stdout } = await refresh.ended
    deepStrictEqual([code, (JSON.parse(stdout) as { error: { code: string } }).error.code], [1, 'SIDESTREAM_CLOSED'])
    const again = await runJson(['refresh', '--id', 'stopped'], scratch)
    deepStrictEqual([again['outcome'], again['version']], ['live', 2])
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
})
