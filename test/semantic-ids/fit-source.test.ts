import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import {
  encode,
  fitCodebooks,
  fitFromSource,
  reconstruction,
  usage,
  type Fit,
  type RowBatch,
  type RowSource,
} from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const dim = 6
const rows = 900
const vectors = clustered(rows, dim, 25, 7)
const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
const bytesOf = ({ codebooks }: Fit): Buffer[] => codebooks.levels.map((level) => Buffer.from(level.buffer))

/** The rows in batches of `batch`, in steps of `stride`. */
function sourceOf(batch: number, stride = 1, x = vectors, names = ids): RowSource & { opened: number } {
  const order = names.map((_, row) => (row * stride) % names.length)
  const source = {
    dim,
    opened: 0,
    async *open(): AsyncIterable<RowBatch> {
      source.opened++
      for (let from = 0; from < order.length; from += batch) {
        const part = order.slice(from, from + batch)
        yield {
          ids: part.map((row) => names[row]!),
          vectors: Float32Array.from(part.flatMap((row) => [...x.subarray(row * dim, (row + 1) * dim)])),
        }
      }
    },
  }
  return source
}

test('a fit on a source is the fit in memory, in any order and batches, and reads it once', async () => {
  const options = { sizes: [16, 8], seed: 5, iterations: 6, sampleRowsPerCode: 30 }
  const inMemory = await fitCodebooks(vectors, ids, dim, options)
  const sums = new Set<unknown>()
  for (const [batch, stride] of [
    [64, 1],
    [7, 7],
    [5000, 101],
  ] as const) {
    const source = sourceOf(batch, stride)
    const fit = await fitFromSource(source, options)
    deepStrictEqual(bytesOf(fit), bytesOf(inMemory))
    deepStrictEqual([fit.fvu, fit.training['rows'], fit.training['sampleRows'], source.opened], [inMemory.fvu, rows, 480, 1])
    sums.add(fit.training['itemsSha256Sum'])
  }
  equal(sums.size, 1, 'the hash of the items does not depend on their order')
  const other = await fitFromSource(sourceOf(64, 1, vectors.subarray(dim), ids.slice(1)), options)
  ok(!sums.has(other.training['itemsSha256Sum']))
})

const distortionOf = ({ codebooks, settings }: Fit): number =>
  reconstruction(vectors, encode(vectors, codebooks, settings), codebooks, settings).distortion

test('passes lower the distortion over all rows, and go on from any state with the same bytes, in any batches and threads', async () => {
  for (const rule of [
    {},
    { normalize: false },
    { beam: 2 },
    { balance: { rounds: 2 } },
    { normalizeResiduals: true },
    { fsqDigits: [3] },
  ]) {
    const options = { sizes: [12, 6, 4], seed: 5, iterations: 10, sampleRowsPerCode: 8, ...rule }
    const sampled = await fitFromSource(sourceOf(100), options)
    const source = sourceOf(100)
    // Of a level, of all levels, then all of passes.
    const states = new Map<string, Uint8Array>()
    const told: string[] = []
    const passed = await fitFromSource(source, {
      ...options,
      passes: 3,
      onProgress: ({ stage, round, rounds, state }) => {
        states.set(stage === 'passes' ? `${stage} ${round}` : stage, state())
        if (stage === 'passes') told.push(`${round}/${rounds}`)
      },
    })
    const name = JSON.stringify(rule)
    // One reading for the sample, one per pass, one to judge the last; passes that are worth nothing end it.
    equal(source.opened, 2 + told.length, name)
    ok(told.length > 0 && told.every((text, at) => text === `${at + 1}/3`), `${name} ${told}`)
    ok(Number(passed.training['passes']) <= told.length && passed.training['jointRounds'] === sampled.training['jointRounds'], name)
    ok(distortionOf(passed) <= distortionOf(sampled), `${name}: ${distortionOf(passed)} is above ${distortionOf(sampled)}`)
    if (!('normalizeResiduals' in rule || 'balance' in rule))
      ok(distortionOf(passed) < 0.98 * distortionOf(sampled), `${name}: ${distortionOf(passed)} is not well below ${distortionOf(sampled)}`)
    for (const [at, resume] of [...states.values()].entries()) {
      const again = await fitFromSource(sourceOf(41), { ...options, passes: 3, resume, threads: 1 + (at % 2) })
      deepStrictEqual([bytesOf(again), again.training, again.fvu], [bytesOf(passed), passed.training, passed.fvu], `${name} ${at}`)
    }
    await rejects(fitFromSource(sourceOf(100), { ...options, resume: states.get('level')! }), { code: 'SIDESTREAM_USAGE_INVALID' })
  }
})

test('where the sample is all rows, passes are never worse than none', async () => {
  for (const seed of [1, 2]) {
    const options = { sizes: [24, 24], seed, iterations: 12 }
    const [none, some] = [await fitFromSource(sourceOf(300), options), await fitFromSource(sourceOf(300), { ...options, passes: 2 })]
    ok(distortionOf(some) <= distortionOf(none), `seed ${seed}: ${distortionOf(some)} is above ${distortionOf(none)}`)
    const dead = (fit: Fit): number[] => usage(encode(vectors, fit.codebooks, fit.settings), [24, 24]).levels.map((level) => level.dead)
    dead(some).forEach((count, level) => ok(count <= dead(none)[level]!))
  }
})

test('bad rows of a source are refused, with the rows before them counted', async () => {
  const options = { sizes: [4], seed: 1 }
  const bad = vectors.slice()
  bad[150 * dim + 2] = NaN
  await rejects(fitFromSource(sourceOf(100, 1, bad), options), {
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    message: /after 100 rows: vector 50 /,
  })
  await rejects(fitFromSource(sourceOf(100, 1, new Float32Array(0), []), options), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
  await rejects(fitFromSource({ ...sourceOf(100), dim: 7 }, options), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fitFromSource(sourceOf(100, 1, vectors, [...ids.slice(0, -1), 'item-3']), options), { code: 'SIDESTREAM_ID_INVALID' })
  await rejects(fitFromSource(sourceOf(100), { ...options, passes: -1 }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fitFromSource(sourceOf(100), { sizes: [2, 65_536, 65_536], seed: 1, passes: 1 }), {
    code: 'SIDESTREAM_SHAPE_MISMATCH',
    message: /passes count 4295229440 pairs of codes/,
  })
})
