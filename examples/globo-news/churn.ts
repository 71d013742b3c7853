/**
 * `npm run eval:churn -- --data DIR [--kuairand DIR] [--json FILE] [--refreshes 10]`: what a refresh of semantic IDs costs and changes.
 * Heads are trained on successive windows of globo-news, from scratch and warm-started; every policy is held beside the reference figures.
 * Those were measured on other vectors, so what is judged is the FVU as it is, and what it has above a retrain's. Then refreshes in a row,
 * to see whether distortion piles up. With `--kuairand` also on vectors made of long watches. Exits with 1 where neither is reached within
 * the tolerance.
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { cosineNeighbors } from '../../compute/index.ts'
import { churn, ParentCodes, refreshCodebooks, type Fit } from '../../semantic-ids/index.ts'
import { firstFit, frozen, frozenRotated, ours, retrain, warmStart, type Move, type Outcome } from './churn-policies.ts'
import { fromScratch, warmStarted, windowsFrom, type HeadVectors } from './churn-windows.ts'
import { cutTs, loadGlobo, type Globo } from './protocol.ts'
import { loadLongWatches, longWatchDim, longWatchVectors, type LongWatches } from '../kuairand/long-watches.ts'

const sizes = [64, 64, 64]
const dim = 128
/** Ends of the head's prefixes. */
const ends = [32, 64, 128]
const toleranceFvu = 0.005
/** End of the first window: where settings are chosen by the protocol, three hours before the cut. */
const firstUntil = cutTs - 3 * 3_600_000
const recallAt = 50
/** Clicks between two refreshes in a row. */
const refreshClicks = 24_000

/** Churn and FVU that an independent implementation measured, on vectors of its own head. */
const reference: Readonly<Record<string, Readonly<Record<string, readonly [churn: number, fvu: number]>>>> = {
  'trained from scratch': {
    retrain: [1, 0.349],
    'frozen, not aligned': [1, 1.57],
    'frozen, rotated': [0.558, 0.405],
    'ours 5 %': [0.049, 0.366],
    'ours 10 %': [0.098, 0.363],
    'ours 20 %': [0.197, 0.358],
  },
  'warm-started': {
    retrain: [1, 0.361],
    'frozen, not aligned': [0.275, 0.393],
    'frozen, rotated': [0.249, 0.381],
    'ours 5 %': [0.049, 0.365],
    'ours 10 %': [0.099, 0.364],
    'ours 20 %': [0.2, 0.361],
  },
  'long watches': {
    retrain: [1, 0.341],
    'frozen, not aligned': [1, 1.07],
    'frozen, rotated': [0.186, 0.354],
    'ours 5 %': [0.049, 0.348],
    'ours 10 %': [0.098, 0.347],
    'ours 20 %': [0.197, 0.345],
  },
}

interface Row {
  readonly policy: string
  readonly churn: number
  readonly firstCode: number
  readonly fvu: number
  readonly newError: number
  /** Neighbors found by decoded IDs, of new items and of all. */
  readonly newRecall: number
  readonly allRecall: number
  readonly reference: readonly [churn: number, fvu: number] | null
  /** Whether FVU, and FVU above a retrain's, are the reference's or less; of budgets alone. */
  readonly reached: { readonly fvu: boolean; readonly aboveRetrain: boolean } | null
}

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    kuairand: { type: 'string' },
    json: { type: 'string' },
    refreshes: { type: 'string', default: '10' },
  },
})
if (values.data === undefined) {
  console.error('usage: npm run eval:churn -- --data DIR [--kuairand DIR] [--json FILE] [--refreshes 10]')
  process.exitCode = 2
} else {
  if (values.kuairand === undefined) console.error('long watches of KuaiRand-Pure were left out: name their folder with --kuairand DIR')
  await evaluate(await loadGlobo(values.data), values.kuairand, Number(values.refreshes), values.json)
}

/** A refresh: heads before and after, and until when their clicks go. */
interface Case {
  readonly name: string
  readonly before: HeadVectors
  readonly after: HeadVectors
  readonly publishedUntil: number
  readonly until: number
}

/** The reference's two cases: heads on growing windows, all articles published. Then with new items, and on the clicks that follow, as many. */
async function casesOf(globo: Globo): Promise<Case[]> {
  const day = { from: -Infinity, until: cutTs }
  const first = await fromScratch(globo, { from: -Infinity, until: firstUntil }, 0)
  const warm = await warmStarted(globo, day, 1, first.head)
  const second = await fromScratch(globo, day, 1)
  const clicks = globo.clicks.times.findIndex((time) => time >= cutTs)
  const [next] = windowsFrom(globo, cutTs, clicks, 1)
  const third = await fromScratch(globo, next!, 2)
  const everything = { publishedUntil: Infinity, until: Infinity }
  return [
    { name: 'trained from scratch', before: first, after: second, ...everything },
    { name: 'warm-started', before: first, after: warm, ...everything },
    { name: 'trained from scratch, new items', before: first, after: second, publishedUntil: firstUntil, until: cutTs },
    { name: 'trained from scratch on other clicks', before: second, after: third, publishedUntil: cutTs, until: next!.until },
  ]
}

async function evaluate(globo: Globo, kuairand: string | undefined, refreshes: number, file: string | undefined): Promise<void> {
  const results: Record<string, unknown> = {}
  let isReached = true
  const cases = await casesOf(globo)
  for (const one of cases) {
    const move = await moveOf(globo, one)
    const { rows, curve } = await judge(one.name, move)
    print(`head ${one.name}: ${move.known} published items, ${move.ids.length - move.known} new`, rows)
    results[one.name] = { known: move.known, fresh: move.ids.length - move.known, rows, curve }
    isReached &&= rows.every(({ reached }) => reached === null || reached.fvu || reached.aboveRetrain)
  }
  if (kuairand !== undefined) {
    const watches = await loadLongWatches(kuairand)
    const runs: Row[][] = []
    for (const seed of [0, 1, 2]) runs.push((await judge('long watches', await longWatchMove(watches, seed))).rows)
    const rows = meansOf('long watches', runs)
    print('vectors of long watches, refreshed after six days, means of three seeds', rows)
    results['long watches'] = { runs, rows }
    isReached &&= rows.every(({ reached }) => reached === null || reached.fvu || reached.aboveRetrain)
  }
  for (const mode of ['warm-started', 'from scratch'] as const) {
    const debt = await inARow(globo, cases[0]!.after, refreshes, mode)
    console.log(`\n${refreshes} refreshes in a row at a budget of 10 %, heads ${mode}`)
    console.log('  step    items   churn  since first   FVU  free fit  ratio')
    for (const { step, items, churned, sinceFirst, fvu, freeFvu } of debt) {
      const cells = [churned, sinceFirst, fvu, freeFvu, fvu / freeFvu].map((value) => value.toFixed(3).padStart(8))
      console.log(`  ${String(step).padStart(4)}${String(items).padStart(9)}${cells.join('')}`)
    }
    results[`in a row, ${mode}`] = debt
  }
  if (file !== undefined) await writeFile(file, `${JSON.stringify(results, null, 2)}\n`)
  if (!isReached) process.exitCode = 1
}

/** Items by number, the published ones first. */
function catalogue({ since }: Globo, until: number, publishedUntil: number): { items: number[]; known: number } {
  const there = [...since.keys()].filter((item) => since[item]! < until)
  const known = there.filter((item) => since[item]! < publishedUntil)
  return { items: [...known, ...there.filter((item) => since[item]! >= publishedUntil)], known: known.length }
}

function rowsOf(vectors: Float32Array, items: readonly number[]): Float32Array {
  const out = new Float32Array(items.length * dim)
  for (const [row, item] of items.entries()) out.set(vectors.subarray(item * dim, (item + 1) * dim), row * dim)
  return out
}

async function moveOf(globo: Globo, { before: first, after, publishedUntil, until }: Case): Promise<Move> {
  const { items, known } = catalogue(globo, until, publishedUntil)
  const ids = items.map((item) => globo.itemIds[item]!)
  const before = rowsOf(first.vectors, items)
  const published = await firstFit(before.subarray(0, known * dim), ids.slice(0, known), dim, sizes)
  return { dim, ids, before, after: rowsOf(after.vectors, items), ...published, known, ends }
}

async function longWatchMove(watches: LongWatches, seed: number): Promise<Move> {
  const { ids, before, after } = longWatchVectors(watches, seed)
  const published = await firstFit(before, ids, longWatchDim, sizes)
  return { dim: longWatchDim, ids, before, after, ...published, known: ids.length, ends: [longWatchDim] }
}

/** Rows of several seeds in one. */
function meansOf(name: string, runs: readonly (readonly Row[])[]): Row[] {
  const rows = runs[0]!.map((row, at): Row => {
    const mean = (of: (row: Row) => number): number => runs.reduce((sum, run) => sum + of(run[at]!) / runs.length, 0)
    const measured = { churn: mean((one) => one.churn), firstCode: mean((one) => one.firstCode), fvu: mean((one) => one.fvu) }
    return { ...row, ...measured, allRecall: mean((one) => one.allRecall) }
  })
  return rows.map((row) => ({ ...row, reached: reachedBy(name, row.policy, row.fvu, rows[0]!.fvu) }))
}

function reachedBy(name: string, policy: string, fvu: number, retrained: number): Row['reached'] {
  const wanted = reference[name]?.[policy]
  if (wanted === undefined || !/^ours \d+ %$/.test(policy)) return null
  const above = wanted[1] - reference[name]!['retrain']![1]
  return { fvu: fvu <= wanted[1] + toleranceFvu, aboveRetrain: fvu - retrained <= above + toleranceFvu }
}

async function judge(name: string, move: Move): Promise<{ rows: Row[]; curve: Outcome['curve'] }> {
  const policies: [string, () => Outcome | Promise<Outcome>][] = [
    ['retrain', () => retrain(move)],
    ['frozen, not aligned', () => frozen(move)],
    ['frozen, rotated', () => frozenRotated(move, [move.dim])],
    ['frozen, rotated by prefix', () => frozenRotated(move, move.ends)],
    ['warm start', () => warmStart(move)],
    ['ours 5 %', () => ours(move, 0.05)],
    ['ours 10 %', () => ours(move, 0.1)],
    ['ours 20 %', () => ours(move, 0.2)],
    ['ours 10 %, old items alone', () => ours(move, 0.1, true)],
  ]
  const all = Uint32Array.from(move.ids.keys())
  const truth = await cosineNeighbors(move.after, move.dim, all, { k: recallAt })
  const rows: Row[] = []
  let curve: Outcome['curve']
  for (const [policy, run] of policies) {
    const result = await run()
    curve = policy === 'ours 10 %' ? result.curve : curve
    rows.push({
      policy,
      churn: result.churn.full,
      firstCode: result.churn.firstCode,
      fvu: result.fvu,
      newError: result.newError,
      ...recallOf(truth, await cosineNeighbors(result.decoded, move.dim, all, { k: recallAt }), move.known),
      reference: reference[name]?.[policy] ?? null,
      reached: reachedBy(name, policy, result.fvu, rows[0]?.fvu ?? NaN),
    })
  }
  return { rows, curve }
}

/** Share of the 50 nearest items by vector that are among the 50 nearest by decoded ID: of new items, and of all. */
function recallOf(truth: Int32Array, near: Int32Array, known: number): Pick<Row, 'newRecall' | 'allRecall'> {
  let [hits, freshHits] = [0, 0]
  for (let at = 0; at < truth.length; at += recallAt) {
    const found = new Set(near.subarray(at, at + recallAt))
    const own = truth.subarray(at, at + recallAt).reduce((sum, row) => sum + (found.has(row) ? 1 : 0), 0)
    hits += own
    if (at >= known * recallAt) freshHits += own
  }
  return { newRecall: freshHits / (truth.length - known * recallAt), allRecall: hits / truth.length }
}

interface Step {
  readonly step: number
  readonly items: number
  readonly churned: number
  /** Items of the first publication whose ID is another one now. */
  readonly sinceFirst: number
  readonly fvu: number
  readonly freeFvu: number
}

/** Refreshes after windows of some clicks, each from what the one before left. */
async function inARow(globo: Globo, first: HeadVectors, count: number, mode: 'warm-started' | 'from scratch'): Promise<Step[]> {
  const { items: firstItems } = catalogue(globo, cutTs, cutTs)
  const firstIds = firstItems.map((item) => globo.itemIds[item]!)
  const published = await firstFit(rowsOf(first.vectors, firstItems), firstIds, dim, sizes)
  const firstCodes = published.codes
  let bundle: Pick<Fit, 'codebooks' | 'settings'> = published.fit
  let parents = ParentCodes.of(firstIds, published.codes, sizes.length)
  let head = first.head
  const steps: Step[] = []
  for (const [step, window] of windowsFrom(globo, cutTs, refreshClicks, count).entries()) {
    const next = await (mode === 'warm-started' ? warmStarted(globo, window, step + 2, head) : fromScratch(globo, window, step + 2))
    head = next.head
    const { items } = catalogue(globo, window.until, cutTs)
    const ids = items.map((item) => globo.itemIds[item]!)
    const vectors = rowsOf(next.vectors, items)
    const result = await refreshCodebooks({ bundle, parents, ids, vectors }, { budget: { full: 0.1 }, seed: step, ceiling: Infinity })
    bundle = { ...bundle, codebooks: result.codebooks }
    parents = ParentCodes.of(ids, result.codes, sizes.length)
    const sinceFirst = churn(firstCodes, result.codes.subarray(0, firstCodes.length), sizes.length).full
    steps.push({ step: step + 1, items: items.length, churned: result.churn.full, sinceFirst, fvu: result.fvu, freeFvu: result.freeFvu })
    console.error(`refresh ${step + 1} of ${count}: FVU ${result.fvu.toFixed(4)}, free fit ${result.freeFvu.toFixed(4)}`)
  }
  return steps
}

function print(title: string, rows: readonly Row[]): void {
  console.log(`\n${title}`)
  console.log(
    `  ${'policy'.padEnd(28)}   churn  first code     FVU  reference (churn, FVU)                          error new  r@${recallAt} new  r@${recallAt} all`,
  )
  const verdict = (isReached: boolean): string => (isReached ? 'PASS' : 'MISS')
  const number = (value: number, width: number): string => (Number.isNaN(value) ? '' : value.toFixed(3)).padStart(width)
  for (const { policy, reference: wanted, reached, ...row } of rows) {
    const beside =
      wanted === null
        ? ''
        : `${number(wanted[0], 8)}${number(wanted[1], 8)}  ${reached === null ? '' : `${verdict(reached.fvu)}, above a retrain ${verdict(reached.aboveRetrain)}`}`
    console.log(
      `  ${policy.padEnd(28)}${number(row.churn, 8)}${number(row.firstCode, 12)}${number(row.fvu, 8)}  ${beside.padEnd(46)}${number(row.newError, 10)}${number(row.newRecall, 10)}${number(row.allRecall, 10)}`,
    )
  }
}
