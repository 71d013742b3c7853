/** One-to-one maps of largest total count. */

/** Above it the map is found greedily: the exact one takes size^3 steps and size^2 numbers. */
const mostExact = 1024

/** How often a pair occurs. */
export interface PairCount {
  readonly from: number
  readonly to: number
  readonly count: number
}

/**
 * A permutation of 0 … size - 1 with the largest sum of counts; greedily above 1,024. What no count ties is filled in index order.
 * @returns `map[from]` = to
 */
export function largestMatching(counts: readonly PairCount[], size: number): Uint16Array {
  const matched = size <= mostExact ? exactPairs(counts, size) : greedyPairs(counts)
  const map = new Int32Array(size).fill(-1)
  const taken = new Uint8Array(size)
  for (const { from, to } of matched) {
    map[from] = to
    taken[to] = 1
  }
  let next = 0
  for (let from = 0; from < size; from++) {
    if (map[from]! >= 0) continue
    while (taken[next] === 1) next++
    map[from] = next
    taken[next] = 1
  }
  return Uint16Array.from(map)
}

/** Largest counts first, equal ones by their codes. */
function greedyPairs(counts: readonly PairCount[]): PairCount[] {
  const [froms, tos] = [new Set<number>(), new Set<number>()]
  return [...counts]
    .sort((a, b) => b.count - a.count || a.from - b.from || a.to - b.to)
    .filter(({ from, to }) => {
      if (froms.has(from) || tos.has(to)) return false
      froms.add(from)
      tos.add(to)
      return true
    })
}

/**
 * The Hungarian method by shortest augmenting paths with potentials (Kuhn, Munkres; in the form of Jonker and Volgenant), on the
 * negative counts. Pairs without a count are left out.
 */
function exactPairs(counts: readonly PairCount[], size: number): PairCount[] {
  const gains = new Float64Array(size * size)
  for (const { from, to, count } of counts) gains[from * size + to] = count
  const rowPotential = new Float64Array(size + 1)
  const columnPotential = new Float64Array(size + 1)
  /** Row matched with each column, 1-based; 0 for none. Column 0 stands for the row that looks for one. */
  const rowOf = new Int32Array(size + 1)
  const way = new Int32Array(size + 1)
  const least = new Float64Array(size + 1)
  const seen = new Uint8Array(size + 1)
  for (let row = 1; row <= size; row++) {
    rowOf[0] = row
    least.fill(Infinity)
    seen.fill(0)
    let column = 0
    do {
      seen[column] = 1
      const at = (rowOf[column]! - 1) * size - 1
      const own = rowPotential[rowOf[column]!]!
      let [step, next] = [Infinity, 0]
      for (let to = 1; to <= size; to++) {
        if (seen[to] === 1) continue
        const cost = -gains[at + to]! - own - columnPotential[to]!
        if (cost < least[to]!) {
          least[to] = cost
          way[to] = column
        }
        if (least[to]! < step) [step, next] = [least[to]!, to]
      }
      for (let to = 0; to <= size; to++) {
        if (seen[to] === 1) {
          rowPotential[rowOf[to]!]! += step
          columnPotential[to]! -= step
        } else least[to]! -= step
      }
      column = next
    } while (rowOf[column] !== 0)
    do {
      const before = way[column]!
      rowOf[column] = rowOf[before]!
      column = before
    } while (column !== 0)
  }
  const pairs: PairCount[] = []
  for (let to = 1; to <= size; to++) {
    const from = rowOf[to]! - 1
    const count = gains[from * size + to - 1]!
    if (count > 0) pairs.push({ from, to: to - 1, count })
  }
  return pairs
}
