import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readColumns, readFlatCodes, readVectors, writeParquet } from '../../schemas/index.ts'
import { temporaryDirectory } from './temp.ts'

/** Rows of a list column, in how many batches they came, and how many of these held them flat. */
async function rowsOf(file: string, evenLists: readonly string[]): Promise<{ rows: unknown[]; batches: number; flat: number }> {
  const rows: unknown[] = []
  let [batches, flat] = [0, 0]
  for await (const batch of readColumns(file, { columns: ['list'], evenLists, batchRows: 3 })) {
    batches++
    const even = batch.lists?.['list']
    if (even === undefined) rows.push(...batch.columns['list']!)
    else {
      flat++
      ok(!('list' in batch.columns))
      for (let row = 0; row < batch.rows; row++) rows.push([...even.values.subarray(row * even.width, (row + 1) * even.width)])
    }
  }
  return { rows, batches, flat }
}

test('lists read flat are those of the general reader, whatever their lengths and pages', async (t) => {
  const file = join(temporaryDirectory(t), 'lists.parquet')
  const number = fc.constantFrom(0, 1, 2, 300, -7)
  const even = fc
    .integer({ min: 1, max: 4 })
    .chain((width) => fc.array(fc.array(number, { minLength: width, maxLength: width }), { minLength: 1 }))
  const uneven = fc.array(fc.option(fc.array(fc.option(number), { maxLength: 3 })), { minLength: 1 })
  const type = fc.constantFrom('INT32' as const, 'FLOAT' as const, 'DOUBLE' as const)
  await fc.assert(
    fc.asyncProperty(fc.oneof(even, uneven), type, fc.constantFrom(8, 64, 4096), async (rows, element, pageSize) => {
      const schema = [
        { name: 'root', num_children: 1 },
        { name: 'list', repetition_type: 'OPTIONAL' as const, converted_type: 'LIST' as const, num_children: 1 },
        { name: 'list', repetition_type: 'REPEATED' as const, num_children: 1 },
        { name: 'element', repetition_type: 'OPTIONAL' as const, type: element },
      ]
      writeFileSync(
        file,
        Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'list', data: rows }], schema, pageSize, rowGroupSize: 7 })),
      )
      const flat = await rowsOf(file, ['list'])
      deepStrictEqual(flat.rows, (await rowsOf(file, [])).rows)
      const isEven = rows.every(
        (row) => row !== null && row.length === rows[0]!.length && row.length > 0 && row.every((one) => one !== null),
      )
      if (isEven) strictEqual(flat.flat, flat.batches)
    }),
    { numRuns: 60 },
  )
})

test('codes and vectors of even lists are refused as those of others', async (t) => {
  const directory = temporaryDirectory(t)
  const write = async (name: string, type: 'list<int32>' | 'list<float>', values: readonly (readonly number[])[]): Promise<string> => {
    const column = type === 'list<int32>' ? 'sid' : 'vector'
    const columns = [
      { name: 'item_id', type: 'string' },
      { name: column, type },
    ] as const
    const file = join(directory, name)
    await writeParquet(file, columns, async (rows) => {
      // Row groups of two rows each.
      for (let at = 0; at < values.length; at += 2) {
        const part = values.slice(at, at + 2)
        await rows.write({ item_id: part.map((_, i) => `item-${at + i}`), [column]: part })
      }
    })
    return file
  }
  const all = async <T>(batches: AsyncIterable<T>): Promise<T[]> => {
    const read: T[] = []
    for await (const batch of batches) read.push(batch)
    return read
  }
  const good = await write('good.parquet', 'list<int32>', [
    [1, 2],
    [3, 65_535],
    [5, 6],
  ])
  deepStrictEqual(
    (await all(readFlatCodes(good))).map(({ ids, levels, codes }) => [ids, levels, [...codes]]),
    [
      [['item-0', 'item-1'], 2, [1, 2, 3, 65_535]],
      [['item-2'], 2, [5, 6]],
    ],
  )
  const refused = { code: 'SIDESTREAM_FILE_INVALID' }
  const codes: [string, number[][], RegExp][] = [
    [
      'negative',
      [
        [1, 2],
        [3, -4],
      ],
      /row 2, column sid: must be a whole number of at least 0 \(got -4\)/,
    ],
    [
      'large',
      [
        [1, 2],
        [3, 65_536],
      ],
      /holds the code 65536; codes are below 65536/,
    ],
    [
      'longer',
      [
        [1, 2],
        [3, 4],
        [5, 6, 7],
        [8, 9, 10],
      ],
      /row 3, column sid: must have 2 levels as the rows before \(got \[5,6,7\]\)/,
    ],
  ]
  for (const [name, values, message] of codes)
    await rejects(async () => all(readFlatCodes(await write(`${name}.parquet`, 'list<int32>', values))), { ...refused, message })
  const vectors: [string, number[][], RegExp][] = [
    [
      'nan',
      [
        [1, 2],
        [3, NaN],
      ],
      /row 2, column vector: must hold finite float32 numbers; dimension 2 does not/,
    ],
    [
      'wider',
      [
        [1, 2],
        [3, 4],
        [5, 6, 7],
        [8, 9, 10],
      ],
      /row 3, column vector: must have 2 dimensions, this one has 3/,
    ],
  ]
  for (const [name, values, message] of vectors)
    await rejects(async () => all(readVectors(await write(`${name}.parquet`, 'list<float>', values))), { ...refused, message })
})
