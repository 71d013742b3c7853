import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { contentCosine, filterHistory, filterSets, markBits, noCounts, SampleBuilder } from '../../distill/index.ts'
import type { CandidateHistory, FilterContent, FilterSet } from '../../distill/index.ts'
import type { DistillSample } from '../../schemas/index.ts'

type Exposure = readonly [itemId: string, ts: number, behaviors: readonly (readonly [string, number])[], cluster: string, vector: number[]]

const golden = (
  JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8')) as {
    sequence_filters: {
      inputs: { history: Exposure[]; positive_kinds: string[]; max_length: number; content_cut: number; jaccard: number }
      outputs: Record<string, string[]> & {
        positive_history: Record<
          string,
          { positive_kinds: string[]; jaccard_with_target: number; cosine_with_target: number; cluster: string }
        >
      }
    }
  }
).sequence_filters

const { inputs, outputs } = golden
const vectors = new Map(inputs.history.map(([id, , , , vector]) => [id, { fused: Float32Array.from(vector) }]))
const clusters = new Map(inputs.history.map(([id, , , cluster]) => [id, cluster]))
const content: FilterContent = {
  content: (id) => vectors.get(id),
  contentCut: inputs.content_cut,
  clusterOf: (id) => clusters.get(id) ?? '',
}

/** The golden history as the log tells it: every act at its time, and the target's last, since a sample is made when it arrives. */
function goldenSample(): DistillSample {
  const builder = new SampleBuilder({
    positiveBehaviors: new Set(inputs.positive_kinds),
    marks: { candidates: 1000, jaccard: inputs.jaccard },
  })
  for (const [itemId, eventTs, behaviors] of inputs.history) {
    if (itemId === 't') continue
    builder.add({ userId: 'u', itemId, eventTs, behaviors: ['view'] })
    for (const [kind, ts] of behaviors) builder.add({ userId: 'u', itemId, eventTs: ts, behaviors: [kind] })
  }
  const [itemId, eventTs, behaviors] = inputs.history.find(([id]) => id === 't')!
  return builder.add({ userId: 'u', itemId, eventTs, behaviors: behaviors.map(([kind]) => kind) })!
}

test('golden: the positive history, with its marks', () => {
  const { history, marks } = goldenSample()
  const expected = outputs.positive_history
  // i10 is there still: only its content says that it is the target under another id.
  deepStrictEqual(history, [...Object.keys(expected), 'i10'])
  for (const [i, id] of history.slice(0, -1).entries()) {
    const { positive_kinds: kinds, jaccard_with_target: jaccard } = expected[id]!
    deepStrictEqual([id, marks![i]], [id, (kinds.length >= 3 ? markBits.kinds : 0) | (jaccard > 0.5 ? markBits.jaccard : 0)])
  }
})

test('golden: cosines with the target', () => {
  for (const [id, { cosine_with_target: cosine }] of Object.entries(outputs.positive_history)) {
    ok(Math.abs(contentCosine(vectors.get(id)!, vectors.get('t')!)! - cosine) < 1e-6, id)
  }
})

for (const set of filterSets) {
  test(`golden: ${set} peak`, () => {
    const options = { length: inputs.max_length, minItems: 1 }
    const name = `${set.replace('-', '_')}_peak`
    deepStrictEqual(filterHistory(set, goldenSample(), content, options), outputs[name])
  })
}

test('fewer than three items make no row', () => {
  const counts = noCounts()
  strictEqual(filterHistory('collaborative-single', goldenSample(), content, {}, counts), undefined)
  deepStrictEqual(counts, { ...noCounts(), histories: 1, short: 1, items: 9, duplicate: 1, fewKinds: 3, otherKinds: 3, lost: 2 })
})

test('of more than ten items the content sets keep the newest, in time order', () => {
  const history = Array.from({ length: 30 }, (_, i) => `h${i}`)
  const row = { targetId: 't', history, marks: new Uint8Array(30).fill(3) }
  const rules = {
    content: (id: string) => ({ v: Float32Array.of(1, id === 't' ? 0 : Number(id.slice(1)) / 30) }),
    contentCut: 0,
    clusterOf: () => '',
  }
  for (const set of ['content-single', 'content-multi'] as const) deepStrictEqual(filterHistory(set, row, rules), history.slice(20))
})

test('a content cut is inclusive, and an item without a modality of the target is not like it', () => {
  const items = { t: { v: Float32Array.of(1, 0) }, a: { v: Float32Array.of(3, 4) }, b: { w: Float32Array.of(1, 0) } } as Record<
    string,
    Record<string, Float32Array>
  >
  const row = { targetId: 't', history: ['a', 'b'], marks: Uint8Array.of(3, 3) }
  const rules = { content: (id: string) => items[id], clusterOf: () => '' }
  const kept = (contentCut: number): string[] | undefined => filterHistory('content-single', row, { ...rules, contentCut }, { minItems: 1 })
  deepStrictEqual([kept(0.6), kept(0.61), kept(-1)], [['a'], undefined, ['a']])
})

test('rows without marks serve the set that asks for none', () => {
  const { history, targetId } = goldenSample()
  const counts = noCounts()
  for (const set of filterSets) filterHistory(set, { history, targetId }, content, {}, counts)
  deepStrictEqual([counts.unmarked, counts.rows], [3, 1])
  throws(() => filterHistory('content-multi', { history, targetId, marks: Uint8Array.of(1) }, content), {
    code: 'SIDESTREAM_SHAPE_MISMATCH',
  })
})

const histories = fc
  .array(fc.record({ cluster: fc.nat({ max: 3 }), mark: fc.nat({ max: 3 }), angle: fc.nat({ max: 7 }), known: fc.boolean() }), {
    maxLength: 40,
  })
  .map((items) => {
    const history = items.map((_, i) => `h${i}`)
    const at = (id: string): (typeof items)[number] | undefined => items[Number(id.slice(1))]
    const vectorOf = (angle: number): { v: Float32Array } => ({ v: Float32Array.of(Math.cos(angle), Math.sin(angle)) })
    const row: CandidateHistory = { targetId: 't', history, marks: Uint8Array.from(items, ({ mark }) => mark) }
    const rules: FilterContent = {
      content: (id) => (id === 't' ? vectorOf(0) : at(id)?.known === true ? vectorOf(at(id)!.angle) : undefined),
      contentCut: 0.2,
      clusterOf: (id) => String(at(id)?.cluster),
    }
    return { row, rules }
  })
const sets = fc.constantFrom<FilterSet>(...filterSets)

test('whatever the history: kept items are of it, in its order, known, not the target, and every item is counted once', () => {
  fc.assert(
    fc.property(histories, sets, ({ row, rules }, set) => {
      const counts = noCounts()
      const kept = filterHistory(set, row, rules, {}, counts) ?? []
      ok(kept.length === 0 || (kept.length >= 3 && kept.length <= 10))
      const places = kept.map((id) => row.history.indexOf(id))
      deepStrictEqual(
        places,
        [...places].sort((a, b) => a - b),
      )
      ok(kept.every((id) => rules.content(id) !== undefined && rules.content(id)!['v']![1] !== 0))
      const { items, unknown, duplicate, fewKinds, otherKinds, otherContent, surplus, lost } = counts
      strictEqual(unknown + duplicate + fewKinds + otherKinds + otherContent + surplus + counts.kept + lost, items)
    }),
  )
})

test('with room for all, the collaborative sets keep every item that passes', () => {
  fc.assert(
    fc.property(histories, ({ row, rules }) => {
      const kept = filterHistory('collaborative-multi', row, rules, { length: 40, minItems: 1 }) ?? []
      const passing = row.history.filter((id) => rules.content(id) !== undefined && rules.content(id)!['v']![1] !== 0)
      deepStrictEqual(kept, passing)
    }),
  )
})
