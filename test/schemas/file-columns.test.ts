import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { readColumns, writeParquet, type ColumnBatch } from '../../schemas/index.ts'
import { temporaryDirectory } from './temp.ts'

async function batches(file: string, options: Parameters<typeof readColumns>[1] = {}): Promise<ColumnBatch[]> {
  const all: ColumnBatch[] = []
  for await (const batch of readColumns(file, options)) all.push(batch)
  return all
}

async function values(file: string, column: string): Promise<unknown[]> {
  return (await batches(file, { columns: [column] })).flatMap((batch) => [...batch.columns[column]!])
}

const csv = 'user_id,score,note\nu1,0.5,"a, b"\nu2,1e-3,\nu3,-2,"said ""hi"""\n'

test('CSV, TSV and their gzipped forms give the same columns', async (t) => {
  const directory = temporaryDirectory(t)
  const tsv = 'user_id\tscore\tnote\nu1\t0.5\ta, b\nu2\t1e-3\t\nu3\t-2\t"said ""hi"""\n'
  const files: [string, Buffer][] = [
    ['a.csv', Buffer.from(csv)],
    ['bom.csv', Buffer.from(`\uFEFF${csv.replaceAll('\n', '\r\n')}`)],
    ['a.csv.gz', gzipSync(csv)],
    ['two-members.csv.gz', Buffer.concat([gzipSync(csv.slice(0, 30)), gzipSync(csv.slice(30))])],
    ['a.tsv', Buffer.from(tsv)],
    ['a.tsv.gz', gzipSync(tsv)],
  ]
  for (const [name, bytes] of files) {
    const file = join(directory, name)
    writeFileSync(file, bytes)
    const [batch, ...more] = await batches(file, { columns: ['note', 'user_id'], optional: ['score', 'absent'] })
    deepStrictEqual(more, [])
    strictEqual(batch!.rows, 3)
    deepStrictEqual(
      { ...batch!.columns },
      { note: ['a, b', '', 'said "hi"'], user_id: ['u1', 'u2', 'u3'], score: ['0.5', '1e-3', '-2'] },
      name,
    )
  }
})

test('batches are of the size asked for, with the index of their first row', async (t) => {
  const directory = temporaryDirectory(t)
  const plain = join(directory, 'n.csv')
  writeFileSync(plain, `n\n${Array.from({ length: 10 }, (_, i) => `${i}\n`).join('')}`)
  const parquet = join(directory, 'n.parquet')
  await writeParquet(parquet, [{ name: 'n', type: 'int32' }], async (rows) => {
    await rows.write({ n: [0, 1, 2, 3, 4, 5] })
    await rows.write({ n: [6, 7, 8, 9] })
  })
  const shape = (all: readonly ColumnBatch[]): number[][] => all.map((batch) => [batch.start, batch.rows, Number(batch.columns['n']![0])])
  const wanted = [[0, 4, 0], [4, 4, 4], [8, 2, 8]] // prettier-ignore
  deepStrictEqual(shape(await batches(plain, { batchRows: 4 })), wanted)
  // a row group is never joined with the next one
  deepStrictEqual(shape(await batches(parquet, { batchRows: 4 })), [[0, 4, 0], [4, 2, 4], [6, 4, 6]]) // prettier-ignore
})

test('what is written as Parquet is read back, 64-bit integers with every digit', async (t) => {
  const file = join(temporaryDirectory(t), 'all.parquet')
  const big = 9_223_372_036_854_775_807n
  const rows = {
    id: ['a', 'b', 'ü'],
    code: [1, -2, 3],
    big: [big, -5n, 7],
    value: [0.1, -0, 1e300],
    half: new Float32Array([1.5, 2.5, -3.5]),
    flag: [true, false, true],
    vector: [new Float32Array([1, 2]), new Float32Array([0.1, -0]), [3, 4]],
    sid: [[1, 2, 3], [4], []],
    tags: [['x', 'y'], [], ['z']],
    note: ['here', undefined, 'there'],
  }
  await writeParquet(
    file,
    [
      { name: 'id', type: 'string' },
      { name: 'code', type: 'int32' },
      { name: 'big', type: 'int64' },
      { name: 'value', type: 'double' },
      { name: 'half', type: 'float' },
      { name: 'flag', type: 'boolean' },
      { name: 'vector', type: 'list<float>' },
      { name: 'sid', type: 'list<int32>' },
      { name: 'tags', type: 'list<string>' },
      { name: 'note', type: 'string', optional: true },
    ],
    (out) => out.write(rows),
  )
  deepStrictEqual(await values(file, 'id'), rows.id)
  deepStrictEqual(await values(file, 'code'), rows.code)
  deepStrictEqual(await values(file, 'big'), [big, -5n, 7n])
  deepStrictEqual(await values(file, 'value'), rows.value)
  deepStrictEqual(await values(file, 'half'), [1.5, 2.5, -3.5])
  deepStrictEqual(await values(file, 'flag'), rows.flag)
  deepStrictEqual(await values(file, 'vector'), [[1, 2], [Math.fround(0.1), -0], [3, 4]]) // prettier-ignore
  deepStrictEqual(await values(file, 'sid'), rows.sid)
  deepStrictEqual(await values(file, 'tags'), rows.tags)
  deepStrictEqual(
    (await values(file, 'note')).map((value) => value ?? undefined),
    rows.note,
  )
})

/** A zstd frame of raw blocks: what any decoder must take. */
function zstdRaw(input: Uint8Array): Uint8Array {
  const parts = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0])]
  parts[0]!.writeUInt32LE(input.length, 5)
  const block = 100_000
  for (let at = 0; at < input.length || at === 0; at += block) {
    const part = input.subarray(at, at + block)
    const header = (part.length << 3) | (at + block >= input.length ? 1 : 0)
    parts.push(Buffer.from([header & 255, (header >> 8) & 255, header >> 16]), Buffer.from(part))
  }
  return Buffer.concat(parts)
}

test('Parquet pages in every usual codec are read', async (t) => {
  const directory = temporaryDirectory(t)
  const data = Array.from({ length: 3000 }, (_, i) => `item-${i % 50}`)
  const compressors = { GZIP: (input: Uint8Array) => gzipSync(input), ZSTD: zstdRaw }
  for (const codec of ['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'ZSTD'] as const) {
    const file = join(directory, `${codec}.parquet`)
    writeFileSync(file, Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'id', data }], codec, compressors })))
    deepStrictEqual(await values(file, 'id'), data, codec)
  }
})

test('Parquet times come out as milliseconds', async (t) => {
  const file = join(temporaryDirectory(t), 'times.parquet')
  const at = Date.UTC(2017, 9, 1, 3)
  writeFileSync(
    file,
    Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'ts', data: [new Date(at), new Date(at + 1)], type: 'TIMESTAMP' }] })),
  )
  deepStrictEqual(await values(file, 'ts'), [at, at + 1])
})

test('a missing column is named, with those that were found and the nearest one', async (t) => {
  const directory = temporaryDirectory(t)
  const plain = join(directory, 'a.csv')
  writeFileSync(plain, csv)
  const parquet = join(directory, 'a.parquet')
  await writeParquet(parquet, [{ name: 'user_id', type: 'string' }, { name: 'score', type: 'double' }], (rows) => rows.write({ user_id: ['u'], score: [1] })) // prettier-ignore
  for (const file of [plain, parquet]) {
    await rejects(batches(file, { columns: ['user_id', 'scores'] }), (error: Error & { code: string }) => {
      strictEqual(error.code, 'SIDESTREAM_FILE_INVALID')
      ok(error.message.startsWith(file))
      match(error.message, /lacks the column scores; it has user_id, score.*did you mean `score`\?/)
      return true
    })
  }
  writeFileSync(plain, 'a,b,a\n1,2,3\n')
  await rejects(batches(plain), /has the column a twice/)
})

test('files that cannot be read say why', async (t) => {
  const directory = temporaryDirectory(t)
  const folder = join(directory, 'folder.parquet')
  mkdirSync(folder)
  writeFileSync(join(directory, 'empty.csv'), '')
  writeFileSync(join(directory, 'a.f32'), '')
  const cases: [string, string, RegExp][] = [
    ['none.csv', 'SIDESTREAM_FILE_UNREADABLE', /none\.csv: there is no such file/],
    ['none.csv.gz', 'SIDESTREAM_FILE_UNREADABLE', /there is no such file/],
    ['none.parquet', 'SIDESTREAM_FILE_UNREADABLE', /there is no such file/],
    ['folder.parquet', 'SIDESTREAM_FILE_UNREADABLE', /is a directory/],
    ['empty.csv', 'SIDESTREAM_FILE_INVALID', /is empty; its first line must name the columns/],
    ['a.xlsx', 'SIDESTREAM_FILE_INVALID', /its name must end with one of \.parquet, \.csv/],
    ['a.f32', 'SIDESTREAM_FILE_INVALID', /holds vectors, not named columns/],
  ]
  for (const [name, code, message] of cases) await rejects(batches(join(directory, name)), { code, message }, name)
})

test('a file that was cut is refused, wherever it was cut', async (t) => {
  const directory = temporaryDirectory(t)
  const long = `id,vector\n${Array.from({ length: 2000 }, (_, i) => `item-${i},${Math.sin(i)}|${Math.cos(i)}\n`).join('')}`
  const parquet = join(directory, 'whole.parquet')
  await writeParquet(parquet, [{ name: 'id', type: 'string' }, { name: 'vector', type: 'list<float>' }], async (rows) => {
    for (let start = 0; start < 2000; start += 500) {
      const ids = Array.from({ length: 500 }, (_, i) => start + i)
      await rows.write({ id: ids.map((i) => `item-${i}`), vector: ids.map((i) => [Math.sin(i), Math.cos(i)]) })
    }
  }) // prettier-ignore
  for (const [name, bytes] of [
    ['cut.parquet', readFileSync(parquet)],
    ['cut.csv.gz', gzipSync(long)],
  ] as const) {
    const file = join(directory, name)
    for (const share of [0.001, 0.3, 0.7, 0.999]) {
      writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length * share)))
      await rejects(batches(file, { columns: ['id', 'vector'] }), { code: 'SIDESTREAM_FILE_INVALID' }, `${name} cut at ${share}`)
    }
    writeFileSync(file, bytes)
    strictEqual(
      (await batches(file)).reduce((sum, batch) => sum + batch.rows, 0),
      2000,
    )
  }
  // bytes lost from the middle of a Parquet file
  const whole = readFileSync(parquet)
  writeFileSync(join(directory, 'cut.parquet'), Buffer.concat([whole.subarray(0, 1000), whole.subarray(3000)]))
  await rejects(batches(join(directory, 'cut.parquet')), { code: 'SIDESTREAM_FILE_INVALID' })
  // a CSV that ends inside a row or inside quotes
  writeFileSync(join(directory, 'cut.csv'), 'a,b\n1,2\n3')
  await rejects(batches(join(directory, 'cut.csv')), {
    code: 'SIDESTREAM_FILE_INVALID',
    message: /line 3 is broken \(Invalid Record Length: expect 2, got 1\): mend it/,
  })
  writeFileSync(join(directory, 'cut.csv'), 'a,b\n1,2\n3,"x')
  await rejects(batches(join(directory, 'cut.csv')), { code: 'SIDESTREAM_FILE_INVALID' })
})

test('a reader may stop early, and again', async (t) => {
  const file = join(temporaryDirectory(t), 'long.csv.gz')
  writeFileSync(file, gzipSync(`n\n${'1\n'.repeat(300_000)}`))
  for (let turn = 0; turn < 3; turn++) {
    for await (const batch of readColumns(file, { batchRows: 10 })) {
      strictEqual(batch.rows, 10)
      break
    }
  }
})

test('nothing half-written is readable: a failed write leaves what was there', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'codes.parquet')
  const columns = [{ name: 'id', type: 'string' }] as const
  await writeParquet(file, columns, (rows) => rows.write({ id: ['old'] }))
  await rejects(
    writeParquet(file, columns, async (rows) => {
      await rows.write({ id: ['new'] })
      deepStrictEqual(await values(file, 'id'), ['old'], 'the old file is there until the end')
      throw new Error('power went')
    }),
    { message: 'power went' },
  )
  deepStrictEqual(await values(file, 'id'), ['old'])
  deepStrictEqual(readdirSync(directory), ['codes.parquet'])
  await rejects(
    writeParquet(join(directory, 'no', 'such.parquet'), columns, (rows) => rows.write({ id: ['x'] })),
    { code: 'SIDESTREAM_FILE_UNREADABLE' },
  )
  await rejects(
    writeParquet(file, [{ name: 'id', type: 'string' }, { name: 'n', type: 'int32' }], (rows) => rows.write({ id: ['a', 'b'], n: [1] })),
    /column n has 1 rows to write where others have 2/,
  ) // prettier-ignore
  await writeParquet(file, columns, async () => undefined)
  deepStrictEqual(await values(file, 'id'), [], 'a file without rows is a file')
})
