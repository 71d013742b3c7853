import { deepStrictEqual, equal, match, throws } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import {
  bundleFromParts,
  bundleOf,
  bundleToParts,
  codebooksOf,
  encode,
  encodeDefaults,
  fsqOf,
  Moves,
  networkOf,
  ParentCodes,
  type Bundle,
} from '../../semantic-ids/index.ts'
import { clustered, codebooks, encoded, x } from './golden.ts'

const ids = Array.from({ length: 60 }, (_, row) => (row % 7 === 0 ? `ünï-${row}-🎬` : `item-${row}`))
const bundle = (delta: number): Bundle =>
  bundleOf({
    codebooks,
    settings: { ...encodeDefaults, normalize: false },
    delta,
    parents: ParentCodes.of(ids, encoded, 2),
    origin: { parent: 'codebooks/1', idSpace: 'a', input: { view: 'main' }, training: { seed: 3 }, policy: { budget: 0.1 } },
  })

test('a bundle comes back from its parts as it was, an infinite delta too', () => {
  for (const delta of [0, 0.123456789, Infinity]) {
    const { parts, about } = bundleToParts(bundle(delta))
    const back = bundleFromParts({ parts, about: JSON.parse(JSON.stringify(about)) })
    deepStrictEqual({ ...back, parents: null }, { ...bundle(delta), parents: null })
    deepStrictEqual([...back.parents.entries()], [...bundle(delta).parents.entries()])
    deepStrictEqual(bundleToParts(back), { parts, about })
  }
})

const whole = (): Bundle =>
  bundleOf({
    codebooks: codebooksOf(4, codebooks.levels, {
      penalties: [undefined, Float32Array.of(0.5, 0, 0.25, 1, 2)],
      fsq: fsqOf([3, 4], clustered(2, 4, 1, 5)),
    }),
    settings: { normalize: false, recheckTolerance: 1e-4, beam: 3 },
    network: networkOf([
      { weights: clustered(7, 4, 1, 6), bias: new Float32Array(7).fill(0.5) },
      { weights: clustered(4, 7, 1, 7), bias: Float32Array.of(0, 1, 0, -1) },
    ]),
    delta: 0,
    parents: ParentCodes.empty(3),
    origin: { parent: null, idSpace: 'a', input: {}, training: {}, policy: {} },
  })

test('penalties, finite-scalar level, network and beam come back too, and give the same codes', () => {
  const bundle = whole()
  const { parts, about } = bundleToParts(bundle)
  deepStrictEqual([...parts.keys()], ['codebooks.f32', 'parent-codes.bin', 'penalties.f32', 'fsq.f32', 'network.f32'])
  const back = bundleFromParts({ parts, about: JSON.parse(JSON.stringify(about)) })
  deepStrictEqual({ ...back, parents: null }, { ...bundle, parents: null })
  deepStrictEqual(bundleToParts(back), { parts, about })
  const codes = (one: Bundle): Uint16Array => encode(x, one.codebooks, one.settings, one.network)
  deepStrictEqual(codes(back), codes(bundle))
})

test('a capacity and its moves come back; a table that is cut, missing or of other levels is refused by name', () => {
  const moves = Moves.of([{ row: 3, from: 0, to: 4 }], ids, x)
  const capped = bundleOf({ ...bundle(0), collisions: { capacity: 2, duplicates: 'split' }, moves })
  const { parts, about } = bundleToParts(capped)
  const back = bundleFromParts({ parts, about: JSON.parse(JSON.stringify(about)) })
  deepStrictEqual(back.collisions, { capacity: 2, duplicates: 'split' })
  deepStrictEqual(bundleToParts(back), { parts, about })
  for (const broken of [undefined, parts.get('moves.bin')!.slice(0, -1), parts.get('parent-codes.bin')!]) {
    const others = new Map([...parts].flatMap(([name, bytes]) => (name !== 'moves.bin' ? [[name, bytes]] : broken ? [[name, broken]] : [])))
    throws(() => bundleFromParts({ parts: others as typeof parts, about }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
  }
  throws(() => bundleOf({ ...bundle(0), moves: Moves.of([{ row: 3, from: 0, to: 5 }], ids, x) }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('a bundle of format 3 keeps prefixes, one that was refreshed keeps whole IDs', () => {
  const refreshed = bundleOf({ ...bundle(0.5), settings: { ...bundle(0.5).settings, sticky: 'whole' } })
  const { parts, about } = bundleToParts(refreshed)
  deepStrictEqual([about['format'], about['sticky'], bundleFromParts({ parts, about }).settings.sticky], [4, 'whole', 'whole'])
  throws(() => bundleFromParts({ parts, about: { ...about, sticky: 'prefix' } }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
  const { sticky: _, id: __, parent, idSpace, input, training, policy, ...deciding } = about
  const before: Record<string, unknown> = { ...deciding, format: 3 }
  const id = createHash('sha256')
  for (const [name, bytes] of [...parts].sort()) id.update(`${name} ${createHash('sha256').update(bytes).digest('hex')}\n`)
  for (const name of Object.keys(before).sort()) id.update(`${name} ${JSON.stringify(before[name])}\n`)
  const old = { ...before, id: id.digest('hex').slice(0, 32), parent, idSpace, input, training, policy }
  equal(bundleFromParts({ parts, about: old }).settings.sticky, 'prefix')
  throws(() => bundleOf({ ...refreshed, settings: { ...refreshed.settings, normalizeResiduals: true } }), {
    code: 'SIDESTREAM_USAGE_INVALID',
  })
})

test('a bundle of format 2 had no capacity', () => {
  const { parts, about } = bundleToParts(bundle(0.5))
  const { capacity: _, duplicates: __, movedRows: ___, ...before } = about
  const back = bundleFromParts({ parts, about: { ...before, format: 2 } })
  deepStrictEqual({ ...back, parents: null }, { ...bundle(0.5), parents: null })
})

test('a bundle of format 1 is read as it was meant: greedy, without extras', () => {
  const { parts, about } = bundleToParts(bundle(0.5))
  const { normalizeResiduals: _, beam: __, penalties: ___, fsq: ____, network: _____, ...before } = about
  const back = bundleFromParts({ parts, about: { ...before, format: 1 } })
  deepStrictEqual({ ...back, parents: null }, { ...bundle(0.5), parents: null })
})

test('extra parts that are missing, cut or do not fit are refused by name', () => {
  const { parts, about } = bundleToParts(whole())
  for (const name of ['penalties.f32', 'fsq.f32', 'network.f32']) {
    const message = new RegExp(name.replace('.', '\\.'))
    const without = new Map([...parts].filter(([own]) => own !== name))
    throws(() => bundleFromParts({ parts: without, about }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message })
    const cut = new Map([...parts, [name, parts.get(name)!.slice(0, -4)]])
    throws(() => bundleFromParts({ parts: cut, about }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message })
  }
  // Format 2 has no id that would tell of the change.
  for (const [change, message] of [
    [{ sizes: [6, 5, 13] }, /sizes \[6, 5, 13\] are not \[6, 5, 12\]/],
    [{ mode: 'greedy' }, /a beam of 3 is not greedy/],
    [{ penalties: [true] }, /penalties of 1 levels/],
  ] as const) {
    throws(() => bundleFromParts({ parts, about: { ...about, format: 2, ...change } }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message })
  }
})

test('a field or part that decides an ID cannot change behind its id; where a bundle comes from is no part of it', () => {
  const { parts, about } = bundleToParts(whole())
  const refused = { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /its id is not that of its fields and parts/ }
  for (const change of [
    { beam: 2 },
    { normalize: true },
    { delta: 0.5 },
    { recheckTolerance: 0 },
    { id: 'f'.repeat(32) },
    { id: undefined },
  ])
    throws(() => bundleFromParts({ parts, about: { ...about, ...change } }), refused)
  const penalties = parts.get('penalties.f32')!.map((byte, at) => (at === 24 ? byte ^ 1 : byte))
  throws(() => bundleFromParts({ parts: new Map([...parts, ['penalties.f32', penalties]]), about }), refused)
  const moved = bundleToParts({ ...whole(), origin: { parent: 'x', idSpace: 'b', input: { file: 'other' }, training: {}, policy: {} } })
  equal(moved.about['id'], about['id'])
  match(String(about['id']), /^[0-9a-f]{32}$/)
})

test('codebooks are little-endian float32, level after level, as the header says', () => {
  const bytes = bundleToParts(bundle(0)).parts.get('codebooks.f32')!
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const words = [...codebooks.levels[0]!, ...codebooks.levels[1]!]
  deepStrictEqual(
    words.map((_, at) => view.getFloat32(at * 4, true)),
    words,
  )
  equal(bytes.length, words.length * 4)
})

test('parent codes are found by id, others are absent, and the order of arrival leaves no trace', () => {
  const table = ParentCodes.of(ids, encoded, 2)
  deepStrictEqual(table.lookup(ids), Int32Array.from(encoded))
  deepStrictEqual(
    table.lookup(['item-', 'item-61', '', 'x'.repeat(600), ids[7]!]),
    Int32Array.of(-1, -1, -1, -1, -1, -1, -1, -1, encoded[14]!, encoded[15]!),
  )
  const reversed = ids.map((_, row) => 59 - row)
  const shuffled = ParentCodes.of(
    reversed.map((row) => ids[row]!),
    Uint16Array.from(reversed.flatMap((row) => [encoded[row * 2]!, encoded[row * 2 + 1]!])),
    2,
  )
  deepStrictEqual(shuffled.toBytes(), table.toBytes())
  deepStrictEqual(ParentCodes.fromBytes(table.toBytes()).lookup(ids), Int32Array.from(encoded))
  equal(ParentCodes.fromBytes(ParentCodes.empty(3).toBytes()).rows, 0)
})

test('parent codes that cannot be are refused', () => {
  throws(() => ParentCodes.of(['a', 'a'], new Uint16Array(4), 2), { code: 'SIDESTREAM_ID_INVALID' })
  throws(() => ParentCodes.of(['a'], new Uint16Array(4), 2), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => bundleOf({ ...bundle(0), parents: ParentCodes.of(['a'], Uint16Array.of(5, 5), 2) }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => bundleOf({ ...bundle(0), parents: ParentCodes.empty(3) }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => bundleOf({ ...bundle(0), delta: NaN }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('damaged or foreign parts are refused', () => {
  const { parts, about } = bundleToParts(bundle(0.5))
  const corrupt = { code: 'SIDESTREAM_ARTIFACT_CORRUPT' }
  const withPart = (name: string, bytes: Uint8Array): ReadonlyMap<string, Uint8Array> => new Map([...parts, [name, bytes]])
  const codes = parts.get('parent-codes.bin')!
  throws(() => bundleFromParts({ parts, about: { ...about, format: 5 } }), { ...corrupt, message: /format.*not known/ })
  throws(() => bundleFromParts({ parts, about: { ...about, format: 2, sizes: [6] } }), corrupt)
  throws(() => bundleFromParts({ parts, about: {} }), corrupt)
  throws(() => bundleFromParts({ parts: new Map(), about }), { ...corrupt, message: /codebooks\.f32 is missing/ })
  throws(() => bundleFromParts({ parts: withPart('parent-codes.bin', codes.slice(0, -1)), about }), corrupt)
  throws(
    () =>
      bundleFromParts({
        parts: withPart(
          'parent-codes.bin',
          Uint8Array.from(codes, (byte, at) => (at === 4 ? 9 : byte)),
        ),
        about,
      }),
    corrupt,
  )
  throws(() => bundleFromParts({ parts: withPart('parent-codes.bin', new Uint8Array(3)), about }), corrupt)
  throws(() => bundleFromParts({ parts: withPart('parent-codes.bin', ParentCodes.empty(2).toBytes()), about }), corrupt)
})
