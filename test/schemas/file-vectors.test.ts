import { deepStrictEqual, match, rejects, strictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { openVectors, readVectors, writeEmbeddings, writeVectorsF32, type ReadVectorsOptions } from '../../schemas/index.ts'
import { temporaryDirectory } from './temp.ts'

async function load(
  file: string,
  options: ReadVectorsOptions = {},
): Promise<{ ids: string[]; vectors: number[]; dim: number; starts: number[] }> {
  const all = { ids: [] as string[], vectors: [] as number[], dim: 0, starts: [] as number[] }
  for await (const batch of readVectors(file, options)) {
    all.ids.push(...batch.ids)
    all.vectors.push(...batch.vectors)
    all.starts.push(batch.start)
    all.dim = batch.dim
  }
  return all
}

/** A `.npy` file as numpy.save writes it. */
function npy(descr: string, shape: string, data: Uint8Array, { version = 1, order = 'False' } = {}): Buffer {
  const fixed = version === 1 ? 10 : 12
  let header = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape}), }`
  header = `${header.padEnd(Math.ceil((fixed + header.length + 1) / 64) * 64 - fixed - 1)}\n`
  const start = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...(version === 1 ? [0, 0] : [0, 0, 0, 0])])
  if (version === 1) start.writeUInt16LE(header.length, 8)
  else start.writeUInt32LE(header.length, 8)
  return Buffer.concat([start, Buffer.from(header, 'latin1'), data])
}

const numbers = [1.5, -2.25, 0, 3, -0.5, 65_504]
const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

test('float16, float32 and float64 arrays of NumPy are read', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'v.npy')
  writeFileSync(join(directory, 'v.ids.txt'), 'a\r\nb\r\n')
  const halves = Uint16Array.from([0x3e00, 0xc080, 0x0000, 0x4200, 0xb800, 0x7bff])
  for (const version of [1, 2, 3]) {
    for (const [descr, data] of [
      ['<f2', halves],
      ['<f4', Float32Array.from(numbers)],
      ['<f8', Float64Array.from(numbers)],
    ] as const) {
      writeFileSync(file, npy(descr, '2, 3', bytesOf(data), { version }))
      deepStrictEqual(await load(file), { ids: ['a', 'b'], vectors: numbers, dim: 3, starts: [0] }, `${descr} version ${version}`)
    }
  }
  // the smallest half and one below 2^-14
  writeFileSync(file, npy('<f2', '2, 1', bytesOf(Uint16Array.from([0x0001, 0x83ff]))))
  deepStrictEqual((await load(file)).vectors, [2 ** -24, -1023 * 2 ** -24])
})

test('NumPy arrays that cannot be taken say what to do', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'v.npy')
  const data = bytesOf(Float32Array.from(numbers))
  writeFileSync(join(directory, 'v.ids.txt'), 'a\nb\n')
  const cases: [Buffer, RegExp][] = [
    [npy('>f4', '2, 3', data), /elements of type >f4; use \.astype\('<f4'\)/],
    [npy('<i8', '2, 3', data), /elements of type <i8/],
    [npy('<f4', '2, 3', data, { order: 'True' }), /Fortran order; use numpy\.ascontiguousarray/],
    [npy('<f4', '6,', data), /has shape \(6,\); a matrix/],
    [npy('<f4', '1, 2, 3', data), /has shape \(1, 2, 3\)/],
    [npy('<f4', '1, 100000', data), /dim from 1 to 8192/],
    [npy('<f4', '3, 3', data), /3 rows of 3 dimensions are declared, 2 are there/],
    [npy('<f4', '2, 3', data).subarray(0, -1), /1\.92 are there/],
    [npy('<f4', '2, 3', data).subarray(0, 40), /ends at byte/],
    [Buffer.from('not numpy at all'), /is not a \.npy file/],
    [Buffer.from('tiny'), /too few for \.npy/],
    [npy('<f4', '2, 3', bytesOf(Float32Array.from([1, 2, 3, 4, NaN, 6]))), /row 2 \(id b\), dimension 2: is not a finite/],
    [npy('<f8', '2, 3', bytesOf(Float64Array.from([1, 2, 1e300, 4, 5, 6]))), /row 1 \(id a\), dimension 3: is not a finite float32/],
  ]
  for (const [bytes, message] of cases) {
    writeFileSync(file, bytes)
    await rejects(load(file), { code: 'SIDESTREAM_FILE_INVALID', message }, String(message))
  }
})

test('.f32 needs its JSON, its ids and its size', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'v.f32')
  const write = (manifest: unknown, ids = 'a\nb\n', data: Uint8Array = bytesOf(Float32Array.from(numbers))): void => {
    writeFileSync(file, data)
    writeFileSync(join(directory, 'names.txt'), ids)
    writeFileSync(`${file}.json`, typeof manifest === 'string' ? manifest : JSON.stringify(manifest))
  }
  const good = { rows: 2, dim: 3, dtype: 'float32le', ids: 'names.txt' }
  write(good)
  deepStrictEqual(await load(file), { ids: ['a', 'b'], vectors: numbers, dim: 3, starts: [0] })
  deepStrictEqual((await load(file, { batchRows: 1 })).starts, [0, 1])
  deepStrictEqual((await load(file, { ids: join(directory, 'names.txt') })).ids, ['a', 'b'])

  const refused: [unknown, RegExp, (string | undefined)?, Uint8Array?][] = [
    [{ ...good, rows: 3 }, /3 rows of 3 dimensions are declared, 2 are there/],
    [good, /1\.92 are there/, undefined, bytesOf(Float32Array.from(numbers)).subarray(0, 23)],
    [{ ...good, dtype: 'float64' }, /v\.f32\.json: must be like/],
    [{ rows: 2 }, /v\.f32\.json: must be like/],
    ['{"rows": 2,', /v\.f32\.json: cut short or damaged/],
    [good, /names\.txt: has 3 ids for 2 vectors/, 'a\nb\nc\n'],
    [good, /names\.txt: row 2, column id: an id/, 'a\n\n'],
    [{ ...good, ids: 'none.txt' }, /needs its ids, one a line, in .*none\.txt/],
  ]
  for (const [manifest, message, ids, data] of refused) {
    write(manifest, ids, data)
    await rejects(load(file), { code: 'SIDESTREAM_FILE_INVALID', message }, String(message))
  }
  rmSync(`${file}.json`)
  await rejects(load(file), {
    code: 'SIDESTREAM_FILE_INVALID',
    message: /v\.f32: needs .*v\.f32\.json beside it, .*"dim": 128.*\.npy/,
  })
  await rejects(load(join(directory, 'none.f32')), { code: 'SIDESTREAM_FILE_UNREADABLE' })
})

test('vectors in tables: lists, `|`-separated text and JSON text', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'v.csv.gz')
  writeFileSync(file, gzipSync('item_id,vector\n007,1.5|-2.25|0\n9223372036854775807,"[3, -0.5, 65504]"\nx,1 2 3\n'))
  deepStrictEqual(await load(file), { ids: ['007', '9223372036854775807', 'x'], vectors: [...numbers, 1, 2, 3], dim: 3, starts: [0] })
  const refuse = async (text: string, message: RegExp): Promise<void> => {
    const plain = join(directory, 'bad.csv')
    writeFileSync(plain, `item_id,vector\na,1|2\n${text}\n`)
    await rejects(load(plain), { code: 'SIDESTREAM_FILE_INVALID', message }, text)
  }
  await refuse('b,1|2|3', /bad\.csv: row 2, column vector: must have 2 dimensions, this one has 3 \(got "1\|2\|3"\)/)
  await refuse('b,1|x', /row 2, column vector: must hold finite float32 numbers; dimension 2 does not \(got "x"\)/)
  await refuse('b,1|Infinity', /dimension 2 does not/)
  await refuse('b,', /a vector is required/)
  await refuse(',1|2', /column item_id: an id/)
  await refuse(`${'é'.repeat(257)},1|2`, /at most 512 bytes, this one has 514/)
})

test('embeddings written as Parquet or .f32 come back bit for bit', async (t) => {
  const directory = temporaryDirectory(t)
  const vector = (dim: number): fc.Arbitrary<number[]> =>
    fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: dim, maxLength: dim })
  const id = fc.stringMatching(/^[a-z0-9é_-]{1,12}$/)
  const matrix = fc
    .integer({ min: 1, max: 9 })
    .chain((dim) => fc.array(fc.tuple(id, vector(dim)), { minLength: 1, maxLength: 12 }).map((rows) => ({ dim, rows })))
  let run = 0
  await fc.assert(
    fc.asyncProperty(matrix, fc.integer({ min: 1, max: 5 }), async ({ dim, rows }, size) => {
      const batches = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => rows.slice(i * size, (i + 1) * size)).map((part) => ({
        dim,
        ids: part.map(([name]) => name),
        vectors: Float32Array.from(part.flatMap(([, values]) => values)),
      }))
      const wanted = { ids: rows.map(([name]) => name), vectors: rows.flatMap(([, values]) => values), dim }
      for (const [file, write] of [
        [`${run}.parquet`, writeEmbeddings],
        [`${run}.f32`, writeVectorsF32],
      ] as const) {
        strictEqual(await write(join(directory, file), batches), rows.length)
        const { starts: _, ...got } = await load(join(directory, file), { batchRows: size })
        deepStrictEqual(got, wanted)
      }
      run++
    }),
    { numRuns: 40 },
  )
})

test('vectors are read at any row, also from a table', async (t) => {
  const directory = temporaryDirectory(t)
  const rows = 700
  const dim = 4
  const batch = {
    dim,
    ids: Array.from({ length: rows }, (_, i) => `i${i}`),
    vectors: Float32Array.from({ length: rows * dim }, (_, i) => i / 8),
  }
  await writeEmbeddings(join(directory, 'v.parquet'), [batch])
  await writeVectorsF32(join(directory, 'v.f32'), [batch])
  for (const name of ['v.parquet', 'v.f32']) {
    const source = await openVectors(join(directory, name))
    const out = new Float32Array(2 * dim)
    await source.read(643, 2, out)
    deepStrictEqual(out, batch.vectors.slice(643 * dim, 645 * dim), name)
    deepStrictEqual([source.rows, source.dim, source.ids[643]], [rows, dim, 'i643'])
    await rejects(source.read(699, 2, out), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
    await source.close()
  }
})

test('batches that do not fit together are refused, and leave no file', async (t) => {
  const directory = temporaryDirectory(t)
  const bad = [
    { dim: 2, ids: ['a'], vectors: new Float32Array(2) },
    { dim: 3, ids: ['b'], vectors: new Float32Array(3) },
  ]
  for (const [name, write] of [
    ['v.parquet', writeEmbeddings],
    ['v.f32', writeVectorsF32],
  ] as const) {
    await rejects(write(join(directory, name), bad), { code: 'SIDESTREAM_FILE_INVALID', message: /1 ids has 3 numbers, 2 each are wanted/ })
  }
  deepStrictEqual(readdirSync(directory), [])
})

test('a .f32 that is written over is never described by its old JSON', async (t) => {
  const file = join(temporaryDirectory(t), 'v.f32')
  await writeVectorsF32(file, [{ dim: 1, ids: ['a'], vectors: new Float32Array(1) }])
  match(readFileSync(`${file}.json`, 'utf8'), /"rows":1,"dim":1,"dtype":"float32le","ids":"v\.ids\.txt"/)
  async function* failing(): AsyncGenerator<{ dim: number; ids: string[]; vectors: Float32Array }> {
    yield { dim: 2, ids: ['b'], vectors: new Float32Array(2) }
    throw new Error('power went')
  }
  await rejects(writeVectorsF32(file, failing()), { message: 'power went' })
  deepStrictEqual((await load(file)).ids, ['a'], 'the old vectors are untouched')
})
