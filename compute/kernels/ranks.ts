/**
 * Where wanted items stand in a ranking, counted instead of sorted.
 * Invariant: ordered by score descending, equal scores by lower index, as `topK` orders them.
 */

/**
 * Ranks of `wanted` among all of `scores`, from 0: how many items stand before it.
 * @param scores - shape [n], no NaN
 * @param wanted - item numbers, shape [r]
 * @param exclude - an item that is not in the ranking, e.g. the query itself; none of `wanted`
 * @returns shape [r], aligned with `wanted`
 */
export function ranksOf(scores: Float32Array | Float64Array, wanted: Int32Array, exclude = -1): Int32Array {
  const before = (a: number, b: number): boolean => scores[a]! > scores[b]! || (scores[a] === scores[b] && a < b)
  const order = Uint32Array.from(wanted.keys()).sort((i, j) => scores[wanted[j]!]! - scores[wanted[i]!]! || wanted[i]! - wanted[j]!)
  const sorted = Int32Array.from(order, (i) => wanted[i]!)
  /** `counts[p]` = items that stand before wanted item p and behind the one before it. */
  const counts = new Int32Array(sorted.length + 1)
  const last = sorted.length - 1
  for (let item = 0; item < scores.length && last >= 0; item++) {
    if (item === exclude || !before(item, sorted[last]!)) continue
    let [low, high] = [0, last]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (before(item, sorted[middle]!)) high = middle
      else low = middle + 1
    }
    counts[low]!++
  }
  const ranks = new Int32Array(wanted.length)
  for (let p = 0, sum = 0; p < sorted.length; p++) ranks[order[p]!] = sum += counts[p]!
  return ranks
}
