import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { encode, fitRqVae, usage, type RqVaeFit, type RqVaeOptions } from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const dim = 10
const rows = 700
const idsOf = (count: number): string[] => Array.from({ length: count }, (_, row) => `item-${row}`)
const ids = idsOf(rows)
const vectors = clustered(rows, dim, 30, 3).map((value, at) => 3 + value * (at % dim < 4 ? 2 : 0.3))
const small: RqVaeOptions = {
  sizes: [8, 8],
  seed: 4,
  hidden: [24],
  latentDim: 4,
  epochs: 12,
  batch: 128,
  resetEvery: 10,
  learningRate: 3e-3,
}
const bytesOf = ({ codebooks, network, decoder, codes }: RqVaeFit): string[] =>
  [...codebooks.levels, ...[...network.layers, ...decoder.layers].flatMap(({ weights, bias }) => [weights, bias]), codes].map((array) =>
    Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64'),
  )

/** Rows through layers, plainly. */
function through(x: Float32Array, layers: RqVaeFit['network']['layers']): Float32Array {
  let y = x
  for (const [index, { weights, bias }] of layers.entries()) {
    const [from, to] = [weights.length / bias.length, bias.length]
    y = Float32Array.from({ length: (y.length / from) * to }, (_, at) => {
      let sum = bias[at % to]!
      for (let j = 0; j < from; j++) sum += weights[(at % to) * from + j]! * y[Math.floor(at / to) * from + j]!
      return index + 1 < layers.length ? Math.max(0, sum) : sum
    })
  }
  return y
}

const variants: Readonly<Record<string, Partial<RqVaeOptions>>> = {
  'straight-through, codebooks by gradient': {},
  'rotation, codebooks by running means': { estimator: 'rotation', codebooks: 'ema', emaDecay: 0.9 },
}
for (const [name, variant] of Object.entries(variants)) {
  test(`${name}: what is returned gives the codes and the vectors back, no code is dead, training lowers the loss`, async () => {
    const losses: number[] = []
    const fit = await fitRqVae(vectors, ids, dim, { ...small, ...variant, epochs: 40, onProgress: ({ loss }) => void losses.push(loss) })
    ok(losses.at(-1)! < 0.8 * losses[0]!, `${losses.join()}`)
    deepStrictEqual(encode(vectors, fit.codebooks, fit.settings, fit.network), fit.codes)
    deepStrictEqual(
      usage(fit.codes, fit.codebooks.sizes).levels.map(({ dead }) => dead),
      [0, 0],
    )
    const [mean, squares] = [new Float64Array(dim), [0, 0]]
    vectors.forEach((value, at) => (mean[at % dim]! += value / rows))
    const words = fit.codebooks.levels
    const latent = Float32Array.from({ length: rows * 4 }, (_, at) => {
      const row = Math.floor(at / 4)
      return words[0]![fit.codes[row * 2]! * 4 + (at % 4)]! + words[1]![fit.codes[row * 2 + 1]! * 4 + (at % 4)]!
    })
    through(latent, fit.decoder.layers).forEach((value, at) => {
      squares[0]! += (value - vectors[at]!) ** 2
      squares[1]! += (mean[at % dim]! - vectors[at]!) ** 2
    })
    ok(Math.abs(squares[0]! / squares[1]! - fit.fvu) < 1e-4, `${squares[0]! / squares[1]!} is not ${fit.fvu}`)
    ok(fit.fvu < 0.5, `${fit.fvu}`)
  })
}

test('the order of items does not matter, and a training goes on from its states to the same bytes', async () => {
  const states: Uint8Array[] = []
  const options = { ...small, epochs: 5 }
  const whole = await fitRqVae(vectors, ids, dim, { ...options, onProgress: async ({ state }) => void states.push(await state()) })
  equal(states.length, 2)
  const order = Array.from({ length: rows }, (_, row) => (row * 303) % rows)
  const shuffled = Float32Array.from(order.flatMap((row) => [...vectors.subarray(row * dim, (row + 1) * dim)]))
  const again = await fitRqVae(
    shuffled,
    order.map((row) => ids[row]!),
    dim,
    options,
  )
  deepStrictEqual(bytesOf(again).slice(0, -1), bytesOf(whole).slice(0, -1))
  for (const [place, row] of order.entries())
    deepStrictEqual(again.codes.subarray(place * 2, place * 2 + 2), whole.codes.subarray(row * 2, row * 2 + 2))
  const resumed = await fitRqVae(vectors, ids, dim, { ...options, resume: states[0]! })
  deepStrictEqual([bytesOf(resumed), resumed.training], [bytesOf(whole), whole.training])
  const other = fitRqVae(vectors, ids, dim, { ...options, seed: 5, resume: states[0]! })
  const refused = { code: 'SIDESTREAM_USAGE_INVALID', message: /other items or options/ }
  await rejects(other, refused)
  const ofResidualKMeans = Uint8Array.of(...Buffer.from('SSFS'), ...states[0]!.subarray(4))
  await rejects(fitRqVae(vectors, ids, dim, { ...options, resume: ofResidualKMeans }), refused)
})

test('codes that nothing takes any more are given rows', async () => {
  // So fast that latent vectors run away from their codewords at once.
  let revived = 0
  const options: RqVaeOptions = { ...small, epochs: 20, resetEvery: 5, learningRate: 0.03, sizes: [16, 16] }
  const fit = await fitRqVae(vectors, ids, dim, { ...options, onProgress: (progress) => void (revived += progress.revived) })
  ok(revived > 0)
  ok(Number(fit.training['revived']) >= revived)
  deepStrictEqual(
    usage(fit.codes, [16, 16]).levels.map(({ dead }) => dead),
    [0, 0],
  )
})

test('identical vectors, dims that never change, fewer items than codes', async () => {
  const same = await fitRqVae(new Float32Array(20 * dim).fill(2), idsOf(20), dim, { ...small, epochs: 2 })
  equal(usage(same.codes, [8, 8]).distinct, 1)
  const few = await fitRqVae(
    vectors.subarray(0, 5 * dim).map((value, at) => (at % dim === 0 ? 7 : value)),
    idsOf(5),
    dim,
    { ...small, epochs: 3 },
  )
  equal(few.codes.length, 10)
  ok(few.fvu >= 0)
})

test('bad input, options and rates are refused', async () => {
  const bad = vectors.slice()
  bad[3 * dim] = Infinity
  await rejects(fitRqVae(bad, ids, dim, small), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
  await rejects(fitRqVae(vectors, ids, dim + 1, small), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fitRqVae(new Float32Array(0), [], dim, small), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
  for (const change of [{ sizes: [0] }, { latentDim: 0 }, { epochs: 0.5 }, { learningRate: 0 }, { commitment: -1 }, { emaDecay: 1 }])
    await rejects(fitRqVae(vectors, ids, dim, { ...small, ...change }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fitRqVae(vectors, ids, dim, { ...small, learningRate: 1e30 }), { code: 'SIDESTREAM_TRAINING_DIVERGED' })
})
