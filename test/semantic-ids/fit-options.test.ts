import { createHash } from 'node:crypto'
import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { after, test } from 'node:test'
import { fitVersion, fitWithCrew } from '../../semantic-ids/fit.ts'
import { encode, reconstruction, usage, type Fit, type FitOptions } from '../../semantic-ids/index.ts'
import { Crew } from '../../semantic-ids/walk-pool.ts'
import { clustered } from './golden.ts'

const dim = 8
// One thread for all fits of this file: starting one takes longer than a fit.
const crew = new Crew(1)
after(() => crew.close())
const fitCodebooks = (vectors: Float32Array, ids: string[], width: number, options: FitOptions): Promise<Fit> =>
  fitWithCrew(vectors, ids, width, options, crew)
const idsOf = (rows: number): string[] => Array.from({ length: rows }, (_, row) => `item-${row}`)
const bytesOf = (fit: Fit): string[] => {
  const arrays = [...fit.codebooks.levels, ...(fit.codebooks.penalties ?? []).map((penalties) => penalties ?? new Float32Array(0))]
  return arrays.map((array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex'))
}

test('a balanced fit gives items nearly equal shares by its frozen prices, where a plain one does not', async () => {
  // One dense group and a thin cloud: plain k-means spends few codes on the group.
  const rows = 2000
  const vectors = clustered(rows, dim, 1, 3).map((value, at) => (Math.floor(at / dim) % 4 === 0 ? 4 * value : 0.4 * value))
  const options = { sizes: [16], seed: 2, normalize: false, iterations: 12 }
  const sharesOf = (codes: Uint16Array): number[] => usage(codes, [16]).levels[0]!.histogram.map((count) => count / rows)
  const plain = await fitCodebooks(vectors, idsOf(rows), dim, options)
  const balanced = await fitCodebooks(vectors, idsOf(rows), dim, {
    ...options,
    balance: { epsilonShare: 0.01, iterations: 200, rounds: 6 },
  })
  const penalties = balanced.codebooks.penalties![0]!
  const shares = sharesOf(encode(vectors, balanced.codebooks, balanced.settings))
  equal(Math.min(...penalties), 0)
  ok(Math.max(...shares) < 0.1, `largest share ${Math.max(...shares)}`)
  ok(Math.min(...shares) > 0.03, `smallest share ${Math.min(...shares)}`)
  ok(Math.max(...sharesOf(encode(vectors, plain.codebooks, plain.settings))) > 0.2)
  equal(plain.codebooks.penalties, undefined)
  ok(balanced.fvu > plain.fvu, 'balance costs distortion')
})

test('a level with fewer distinct rows than codes is not balanced', async () => {
  const same = new Float32Array(100 * dim).fill(0.25)
  const fit = await fitCodebooks(same, idsOf(100), dim, { sizes: [4, 4], seed: 1, balance: {} })
  equal(fit.codebooks.penalties, undefined)
  equal(usage(encode(same, fit.codebooks, fit.settings), [4, 4]).distinct, 1)
})

test('a fit that goes on from any of its states ends with the same bytes', async () => {
  const rows = 600
  const vectors = clustered(rows, dim, 20, 4)
  const options: FitOptions = { sizes: [12, 8], seed: 3, iterations: 5, balance: { rounds: 2, iterations: 10 } }
  const states: Uint8Array[] = []
  const seen: string[] = []
  const whole = await fitCodebooks(vectors, idsOf(rows), dim, {
    ...options,
    onProgress: ({ level, levels, round, rounds, distortion, ended, state }) => {
      seen.push(`${level}/${levels} ${round}/${rounds}${ended ? ' ended' : ''}`)
      ok(distortion > 0)
      states.push(state())
    },
  })
  const expected = [0, 1].flatMap((level) => [...[1, 2, 3, 4, 5].map((round) => `${level}/2 ${round}/5`), `${level}/2 5/5 ended`])
  deepStrictEqual(seen, expected)
  for (const [at, state] of states.entries()) {
    // Stopped and gone on with a second time, at some round behind it.
    const later: Uint8Array[] = []
    const onProgress: FitOptions['onProgress'] = (progress) => void later.push(progress.state())
    const resumed = await fitCodebooks(vectors, idsOf(rows), dim, { ...options, resume: state, onProgress })
    const twice = await fitCodebooks(vectors, idsOf(rows), dim, { ...options, resume: later[(at * 5) % later.length] ?? state })
    for (const fit of [resumed, twice])
      deepStrictEqual([bytesOf(fit), fit.training, fit.fvu], [bytesOf(whole), whole.training, whole.fvu], `state ${at}`)
  }
  const from = (resume: Uint8Array, change: Partial<FitOptions> = {}): Promise<Fit> =>
    fitCodebooks(vectors, idsOf(rows), dim, { ...options, ...change, resume })
  for (const change of [{ seed: 4 }, { iterations: 6 }, { balance: { rounds: 3 } }])
    await rejects(from(states[2]!, change), { code: 'SIDESTREAM_USAGE_INVALID', message: /other items or options/ })
  for (const cut of [0, 10, 200, states[2]!.length - 1])
    await rejects(from(states[2]!.slice(0, cut)), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
  const newer = states[2]!.slice()
  newer[4] = 9
  await rejects(from(newer), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /format 9/ })
})

test('a fit gives the bytes that its version gives: who changes them raises fitVersion and renews these', async () => {
  const bytesBy = async (dims: number, rule: Partial<FitOptions>): Promise<string> => {
    const options: FitOptions = { sizes: [12, 8, 6], seed: 3, iterations: 8, ...rule }
    const fit = await fitCodebooks(clustered(500, dims, 20, 4), idsOf(500), dims, options)
    return createHash('sha256').update(bytesOf(fit).join()).digest('hex').slice(0, 12)
  }
  const rules: Partial<FitOptions>[] = [{}, { balance: { rounds: 2 } }, { beam: 2 }, { normalizeResiduals: true }]
  const hashes = await Promise.all([...rules.map((rule) => bytesBy(dim, rule)), bytesBy(48, {})])
  // A state holds no rule, only numbers: gone on with by a build that draws or moves otherwise it would end as neither.
  deepStrictEqual([fitVersion, ...hashes], [4, 'c1d1c1883ad6', 'e84844303334', 'fc6e79655a29', 'a6c5b7d6f696', '583b02c3994b'])
})

test('rounds over all levels lower distortion, kill no code, keep to the encode rule, and go on from any state', async () => {
  const rows = 64 * 39
  const vectors = clustered(rows, dim, 90, 14)
  const sizes = [64, 24, 12]
  for (const rule of [{}, { beam: 3 }, { fsqDigits: [3, 3] }] as Partial<FitOptions>[]) {
    const options: FitOptions = { sizes, seed: 3, iterations: 10, jointRounds: 5, ...rule }
    const apart = await fitCodebooks(vectors, idsOf(rows), dim, { ...options, jointRounds: 0 })
    const states: Uint8Array[] = []
    const distortions: number[] = []
    const joint = await fitCodebooks(vectors, idsOf(rows), dim, {
      ...options,
      onProgress: ({ level, levels, round, ended, distortion, state }) => {
        if (level < levels && !(ended && level === 2)) return
        equal(round, level < levels ? 5 : distortions.length)
        if (level < levels) distortions.length = 0
        distortions.push(distortion)
        states.push(state())
      },
    })
    equal(joint.training['jointRounds'], 5)
    equal(states.length, 6)
    // The last level's own distortion by beam is not that of the walk over all levels: only the rounds are compared.
    for (let at = 2; at < distortions.length; at++) ok(distortions[at]! < distortions[at - 1]!)
    ok(joint.fvu < 0.99 * apart.fvu, `${joint.fvu} is not below ${apart.fvu}`)
    const codes = encode(vectors, joint.codebooks, joint.settings)
    deepStrictEqual(
      usage(codes, joint.codebooks.sizes)
        .levels.slice(0, 3)
        .map(({ dead }) => dead),
      [0, 0, 0],
    )
    const { fvu } = reconstruction(vectors, codes, joint.codebooks, joint.settings)
    ok(Math.abs(joint.fvu - fvu) < 1e-6, `the fit says ${joint.fvu}, the codes ${fvu}`)
    for (const resume of states) {
      const resumed = await fitCodebooks(vectors, idsOf(rows), dim, { ...options, resume })
      deepStrictEqual([bytesOf(resumed), resumed.training, resumed.fvu], [bytesOf(joint), joint.training, joint.fvu])
    }
    await rejects(fitCodebooks(vectors, idsOf(rows), dim, { ...options, jointRounds: 4, resume: states[3]! }), {
      code: 'SIDESTREAM_USAGE_INVALID',
    })
  }
  for (const bad of [-1, 1.5])
    await rejects(fitCodebooks(vectors, idsOf(rows), dim, { sizes, seed: 2, jointRounds: bad }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('codes that a round over all levels leaves without rows come back', async () => {
  // Few rows a code: nearly every round empties some.
  const rows = 400
  const vectors = clustered(rows, dim, 60, 15)
  const options = { sizes: [48, 48, 48], seed: 3, normalize: false, iterations: 10 }
  const dead = async (jointRounds: number): Promise<{ dead: number[]; fvu: number; rounds: unknown }> => {
    const fit = await fitCodebooks(vectors, idsOf(rows), dim, { ...options, jointRounds })
    const { levels } = usage(encode(vectors, fit.codebooks, fit.settings), options.sizes)
    return { dead: levels.map((level) => level.dead), fvu: fit.fvu, rounds: fit.training['jointRounds'] }
  }
  const [apart, joint] = [await dead(0), await dead(5)]
  joint.dead.forEach((count, level) => ok(count <= apart.dead[level]!, `level ${level}: ${count} dead codes, ${apart.dead[level]} before`))
  ok(Number(joint.rounds) > 0 && joint.fvu < apart.fvu)
})

test('there are no rounds over all levels with prices, residuals of unit length, or one level', async () => {
  const rows = 500
  const vectors = clustered(rows, dim, 20, 16)
  for (const options of [{ sizes: [8, 8], balance: {} }, { sizes: [8, 8], normalizeResiduals: true }, { sizes: [8] }]) {
    const [joint, apart] = await Promise.all(
      [5, 0].map((jointRounds) => fitCodebooks(vectors, idsOf(rows), dim, { ...options, seed: 1, iterations: 6, jointRounds })),
    )
    deepStrictEqual([bytesOf(joint!), joint!.training['jointRounds']], [bytesOf(apart!), 0])
  }
})

test('progress tells a distortion that falls round by round', async () => {
  const rows = 800
  const seen: number[] = []
  await fitCodebooks(clustered(rows, dim, 30, 6), idsOf(rows), dim, {
    sizes: [16],
    seed: 1,
    normalize: false,
    onProgress: ({ distortion, ended }) => void (ended || seen.push(distortion)),
  })
  ok(seen.length > 3)
  for (let at = 1; at < seen.length; at++) ok(seen[at]! <= seen[at - 1]! * (1 + 1e-9))
})

test('attraction lays codes where items that are consumed together stand; its options are checked', async () => {
  // Two groups far apart on one axis; items are consumed together along the other, short one.
  const rows = 400
  const noise = clustered(rows, 2, 1, 5)
  const side = (row: number): number => (row % 2 === 0 ? -1 : 1)
  const taste = (row: number): number => (row % 4 < 2 ? -1 : 1)
  const vectors = Float32Array.from({ length: rows * 2 }, (_, at) =>
    at % 2 === 0 ? side(at >> 1) * 4 : taste(at >> 1) * 0.7 + 0.05 * noise[at]!,
  )
  const pairs = Array.from({ length: rows }, (_, row) => [`item-${row}`, `item-${(row + 401) % rows}`] as const).filter(
    ([a, b]) => taste(Number(a.slice(5))) === taste(Number(b.slice(5))),
  )
  const togetherWith = async (weight: number): Promise<number> => {
    const fit = await fitCodebooks(vectors, idsOf(rows), 2, { sizes: [2], seed: 1, normalize: false, attraction: { pairs, weight } })
    const codes = encode(vectors, fit.codebooks, fit.settings)
    return pairs.filter(([a, b]) => codes[Number(a.slice(5))] === codes[Number(b.slice(5))]).length / pairs.length
  }
  equal(await togetherWith(0), 0)
  equal(await togetherWith(0.5), 1)
  const fit = fitCodebooks(vectors, idsOf(rows), 2, { sizes: [2], seed: 1, attraction: { pairs, weight: 2 } })
  await rejects(fit, { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('the digits of a finite-scalar last level are well used; digits out of range are refused', async () => {
  const rows = 3000
  const vectors = clustered(rows, dim, 40, 9)
  const fsqDigits = [5, 4, 3]
  const fit = await fitCodebooks(vectors, idsOf(rows), dim, { sizes: [32], seed: 1, normalize: false, fsqDigits })
  deepStrictEqual(fit.codebooks.sizes, [32, 60])
  const codes = encode(vectors, fit.codebooks, fit.settings)
  for (const [values, step] of [
    [5, 12],
    [4, 3],
    [3, 1],
  ] as const) {
    const counts = Array.from({ length: values }, () => 0)
    for (let row = 0; row < rows; row++) counts[Math.floor(codes[row * 2 + 1]! / step) % values]! += 1
    const entropy = counts.reduce((sum, count) => sum - (count / rows) * Math.log(count / rows), 0)
    ok(entropy > 0.95 * Math.log(values), `of ${values} values ${Math.exp(entropy)} are used`)
  }
  for (const bad of [[], [1], [2.5], [3, 3, 3, 3, 3, 3, 3, 3, 3], [255, 255, 255]])
    await rejects(fitCodebooks(vectors, idsOf(rows), dim, { sizes: [4], seed: 1, fsqDigits: bad }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  const flat = await fitCodebooks(new Float32Array(50 * dim).fill(1), idsOf(50), dim, { sizes: [2], seed: 1, fsqDigits: [3] })
  ok(flat.codebooks.fsq!.projection.every(Number.isFinite))
})

test('levels are fitted on what the encode rule leaves: by beam, and with residuals at unit length', async () => {
  const rows = 700
  const vectors = clustered(rows, dim, 30, 8)
  const options = { sizes: [8, 8, 8], seed: 2, iterations: 8 }
  const fits = await Promise.all(
    [{}, { beam: 4 }, { normalizeResiduals: true }].map((rule) => fitCodebooks(vectors, idsOf(rows), dim, { ...options, ...rule })),
  )
  const [greedy, beam, unit] = fits as [Fit, Fit, Fit]
  deepStrictEqual([greedy.settings.beam, beam.settings.beam, unit.settings.normalizeResiduals], [undefined, 4, true])
  for (const fit of [greedy, beam, unit]) {
    const { fvu } = reconstruction(vectors, encode(vectors, fit.codebooks, fit.settings), fit.codebooks, fit.settings)
    ok(Math.abs(fit.fvu - fvu) < 1e-6, `the fit says ${fit.fvu}, the codes ${fvu}`)
  }
  // Codewords of unit residuals are means of unit vectors: as long at the last level as at the first.
  const meanLength = (words: Float32Array): number => Math.sqrt(words.reduce((sum, value) => sum + value * value, 0) / 8)
  ok(meanLength(greedy.codebooks.levels[2]!) < 0.5 * meanLength(greedy.codebooks.levels[0]!))
  ok(meanLength(unit.codebooks.levels[2]!) > 0.6 * meanLength(unit.codebooks.levels[0]!))
  deepStrictEqual(
    usage(encode(vectors, unit.codebooks, unit.settings), [8, 8, 8]).levels.map(({ dead }) => dead),
    [0, 0, 0],
  )
  await rejects(fitCodebooks(vectors, idsOf(rows), dim, { ...options, beam: 2, normalizeResiduals: true }), {
    code: 'SIDESTREAM_USAGE_INVALID',
  })
})
