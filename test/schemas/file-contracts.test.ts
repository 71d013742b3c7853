import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import {
  fileError,
  readCodes,
  readContent,
  readIdEmbeddings,
  readInteractions,
  readItemPairs,
  writeCodes,
  writeParquet,
  type ParquetColumn,
  type SidestreamError,
} from '../../schemas/index.ts'
import { collect, temporaryDirectory } from './temp.ts'

test('interactions: Parquet and CSV give the same records', async (t) => {
  const directory = temporaryDirectory(t)
  const wanted = [
    {
      userId: '9223372036854775807',
      itemId: 'i1',
      eventTs: 1_506_826_800_026,
      behaviors: ['view', 'click'],
      surface: 'feed',
      dwellMs: 1200,
      requestId: 'r1',
    },
    { userId: '7', itemId: 'i2', eventTs: 1_506_826_800_027, behaviors: ['view'] },
  ]
  const parquet = join(directory, 'interactions.parquet')
  const columns: ParquetColumn[] = [
    { name: 'user_id', type: 'int64' },
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: 'int64' },
    { name: 'behaviors', type: 'list<string>' },
    { name: 'surface', type: 'string', optional: true },
    { name: 'dwell_ms', type: 'int32', optional: true },
    { name: 'request_id', type: 'string', optional: true },
  ]
  await writeParquet(parquet, columns, (rows) =>
    rows.write({
      user_id: [9_223_372_036_854_775_807n, 7n],
      item_id: ['i1', 'i2'],
      ts: [1_506_826_800_026, 1_506_826_800_027],
      behaviors: [['view', 'click'], ['view']],
      surface: ['feed', undefined],
      dwell_ms: [1200, undefined],
      request_id: ['r1', undefined],
    }),
  )
  const csv = join(directory, 'interactions.csv.gz')
  writeFileSync(
    csv,
    gzipSync(
      'item_id,user_id,behaviors,ts,surface,dwell_ms,request_id,other\ni1,9223372036854775807,view|click|view,1506826800026,feed,1200,r1,x\ni2,7,view,2017-10-01T03:00:00.027Z,,,,\n',
    ),
  )
  for (const file of [parquet, csv]) deepStrictEqual(await collect(readInteractions(file)), wanted, file)
})

test('interactions: columns are mapped, times have units, behaviors may be constant', async (t) => {
  const file = join(temporaryDirectory(t), 'clicks.csv')
  writeFileSync(file, 'who,what,when,kind\n1,a,1506826800,like;view\n2,b,1506826801.5,view\n')
  const columns = { userId: 'who', itemId: 'what', ts: 'when', tsUnit: 's' } as const
  deepStrictEqual(await collect(readInteractions(file, { ...columns, behaviors: { always: ['click'] } })), [
    { userId: '1', itemId: 'a', eventTs: 1_506_826_800_000, behaviors: ['click'] },
    { userId: '2', itemId: 'b', eventTs: 1_506_826_801_500, behaviors: ['click'] },
  ])
  deepStrictEqual(
    (await collect(readInteractions(file, { ...columns, behaviors: { column: 'kind', separator: ';' } }))).map((record) => record.behaviors),
    [['like', 'view'], ['view']],
  ) // prettier-ignore
})

test('interactions: a bad row names file, row and column, or is left out and reported', async (t) => {
  const file = join(temporaryDirectory(t), 'clicks.csv')
  const rows = [
    'u,i,1000,click',
    ',i,1000,click',
    `u,${'x'.repeat(600)},1000,click`,
    'u,i,soon,click',
    'u,i,-5,click',
    'u,i,1506826800026000,click',
    'u,i,,click',
    'u,i,1000,',
    `u,i,1000,${'y'.repeat(300)}`,
    'u,i,2000,click',
  ]
  writeFileSync(file, `user_id,item_id,ts,behaviors\n${rows.join('\n')}\n`)
  await rejects(collect(readInteractions(file)), { code: 'SIDESTREAM_FILE_INVALID', message: /clicks\.csv: row 2, column user_id: an id/ })
  const refused: [number, SidestreamError][] = []
  const good = await collect(readInteractions(file, {}, { onInvalid: (error, row) => refused.push([row, error]) }))
  deepStrictEqual(good.map((record) => record.eventTs), [1000, 2000]) // prettier-ignore
  deepStrictEqual(
    refused.map(([row, { details }]) => [row, details['row'], details['column']]),
    [
      [2, 2, 'user_id'],
      [3, 3, 'item_id'],
      [4, 4, 'ts'],
      [5, 5, 'ts'],
      [6, 6, 'ts'],
      [7, 7, 'ts'],
      [8, 8, 'behaviors'],
      [9, 9, 'behaviors'],
    ],
  )
  ok(refused[1]![1].message.length < 400, 'a long value is cut in the message')
  await rejects(collect(readInteractions(file, { userId: 'user' })), {
    message: /lacks the column user; it has user_id, item_id, ts, behaviors/,
  })
})

test('content: modalities may be absent, not all of them; a row may delete', async (t) => {
  const directory = temporaryDirectory(t)
  const modalities = { text: { dim: 2 }, image: { dim: 3 } }
  const file = join(directory, 'content.parquet')
  const columns: ParquetColumn[] = [
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: 'int64' },
    { name: 'text', type: 'list<float>', optional: true },
    { name: 'image', type: 'list<float>', optional: true },
    { name: 'labels', type: 'list<string>', optional: true },
    { name: 'author_id', type: 'int64', optional: true },
    { name: 'deleted', type: 'boolean', optional: true },
  ]
  await writeParquet(file, columns, (rows) =>
    rows.write({
      item_id: ['a', 'b', 'c'],
      ts: [1, 2, 3],
      text: [[1, 2], undefined, undefined],
      image: [[1, 2, 3], [4, 5, 6], undefined],
      labels: [['x', 'y'], undefined, undefined],
      author_id: [12n, undefined, undefined],
      deleted: [undefined, false, true],
    }),
  )
  deepStrictEqual(await collect(readContent(file, modalities)), [
    {
      itemId: 'a',
      eventTs: 1,
      content: {
        itemId: 'a',
        eventTs: 1,
        vectors: { text: new Float32Array([1, 2]), image: new Float32Array([1, 2, 3]) },
        labels: ['x', 'y'],
        authorId: '12',
      },
    },
    { itemId: 'b', eventTs: 2, content: { itemId: 'b', eventTs: 2, vectors: { image: new Float32Array([4, 5, 6]) } } },
    { itemId: 'c', eventTs: 3, content: null },
  ])
  const csv = join(directory, 'content.csv')
  writeFileSync(csv, 'item_id,ts,text,deleted\na,1,0.5|1,\nb,2,,1\nc,3,,\n')
  await rejects(collect(readContent(csv, modalities)), { message: /row 3, column text, image: at least one modality must have a vector/ })
  await rejects(collect(readContent(csv, { text: { dim: 4 } })), { message: /row 1, column text: must have 4 dimensions, this one has 2/ })
  await rejects(collect(readContent(csv, { audio: { dim: 4 } })), {
    message: /lacks a column for each modality of the configuration \(audio\); it has item_id, ts, text, deleted/,
  })
})

test('ID embeddings are read, and refused without vector or exposures', async (t) => {
  const file = join(temporaryDirectory(t), 'id_embeddings.csv')
  writeFileSync(file, 'entity,entity_id,ts,vector,exposures\nitem,7,10,1|2,55\n')
  deepStrictEqual(await collect(readIdEmbeddings(file)), [
    { entity: 'item', entityId: '7', eventTs: 10, vector: new Float32Array([1, 2]), exposures: 55 },
  ])
  for (const [row, column] of [
    ['item,7,10,1|2,-1', 'exposures'],
    ['item,7,10,1|2,1.5', 'exposures'],
    ['item,7,10,,5', 'vector'],
    [',7,10,1,5', 'entity'],
  ] as const) {
    writeFileSync(file, `entity,entity_id,ts,vector,exposures\n${row}\n`)
    await rejects(
      collect(readIdEmbeddings(file)),
      { code: 'SIDESTREAM_FILE_INVALID', message: new RegExp(`row 1, column ${column}: `) },
      row,
    )
  }
})

test('pairs are read, with a score and a time where they have them', async (t) => {
  const file = join(temporaryDirectory(t), 'pairs.csv')
  writeFileSync(file, 'source,query_id,target_id,score,ts\ntags,a,b,,\ngraded,a,c,0.5,10\n')
  deepStrictEqual(await collect(readItemPairs(file)), [
    { source: 'tags', queryId: 'a', targetId: 'b', eventTs: 0 },
    { source: 'graded', queryId: 'a', targetId: 'c', eventTs: 10, score: 0.5 },
  ])
  for (const [row, column] of [
    [',a,b,1', 'source'],
    ['tags,,b,1', 'query_id'],
    ['tags,a,,1', 'target_id'],
    ['tags,a,b,many', 'score'],
  ] as const) {
    writeFileSync(file, `source,query_id,target_id,score\n${row}\n`)
    await rejects(collect(readItemPairs(file)), { code: 'SIDESTREAM_FILE_INVALID', message: new RegExp(`row 1, column ${column}: `) }, row)
  }
})

test('codes come back as written, with as many levels in every row', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'codes.parquet')
  const all: { ids: readonly string[]; sids: readonly (readonly number[])[] }[] = []
  strictEqual(await writeCodes(file, [{ ids: ['a', 'b'], sids: [[0, 255, 3], [1, 2, 3]] }, { ids: ['c'], sids: [[65_535, 0, 0]] }]), 3) // prettier-ignore
  for await (const batch of readCodes(file)) all.push(batch)
  deepStrictEqual(all.flatMap((batch) => batch.ids), ['a', 'b', 'c']) // prettier-ignore
  deepStrictEqual(all.flatMap((batch) => batch.sids), [[0, 255, 3], [1, 2, 3], [65_535, 0, 0]]) // prettier-ignore
  const csv = join(directory, 'codes.csv')
  writeFileSync(csv, 'item_id,sid\na,1|2|3\nb,1|2\n')
  await rejects(async () => {
    for await (const _ of readCodes(csv));
  }, /row 2, column sid: must have 3 levels as the rows before/)
})

test('a full disk has its own code', () => {
  const error = fileError('/data/out.parquet', Object.assign(new Error('write'), { code: 'ENOSPC' }))
  strictEqual(error.code, 'SIDESTREAM_DISK_FULL')
  ok(error.message.startsWith('/data/out.parquet: the disk is full'))
})
