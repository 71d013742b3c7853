/**
 * The k nearest by dot product, exact. Invariant: ordered by score descending, equal scores by lower index.
 * The sums are float64 in index order: the reference that a faster path must agree with.
 */

export interface TopK {
  /** Row numbers, best first, shape [k] (fewer when there are fewer rows). */
  readonly indices: Uint32Array
  readonly scores: Float64Array
}

/**
 * Rows of `rows` with the largest dot product with `query`.
 * @param query - shape [dim]
 * @param rows - row-major, shape [n, dim]
 * @param exclude - row number never returned, e.g. the query itself
 */
export function topKByDot(query: Float32Array, rows: Float32Array, k: number, exclude = -1): TopK {
  const dim = query.length
  const n = rows.length / dim
  const scores = new Float64Array(n)
  for (let row = 0, at = 0; row < n; row++) {
    let sum = 0
    for (let i = 0; i < dim; i++, at++) sum += query[i]! * rows[at]!
    scores[row] = sum
  }
  return topK(scores, k, exclude)
}

/** The `k` largest of `scores`, equal ones by lower index; a heap of k, so O(n log k). */
export function topK(scores: Float32Array | Float64Array, k: number, exclude = -1): TopK {
  const size = Math.min(k, scores.length - (exclude >= 0 && exclude < scores.length ? 1 : 0))
  const heap = new Uint32Array(Math.max(0, size))
  let filled = 0
  // `worse(a, b)`: row a ranks behind row b.
  const worse = (a: number, b: number): boolean => scores[a]! < scores[b]! || (scores[a] === scores[b] && a > b)
  const sink = (from: number, length: number): void => {
    let at = from
    for (;;) {
      let worst = at
      const left = 2 * at + 1
      if (left < length && worse(heap[left]!, heap[worst]!)) worst = left
      if (left + 1 < length && worse(heap[left + 1]!, heap[worst]!)) worst = left + 1
      if (worst === at) return
      const other = heap[at]!
      heap[at] = heap[worst]!
      heap[worst] = other
      at = worst
    }
  }
  for (let row = 0; row < scores.length && size > 0; row++) {
    if (row === exclude) continue
    if (filled < size) {
      heap[filled++] = row
      if (filled === size) for (let at = (size >>> 1) - 1; at >= 0; at--) sink(at, size)
    } else if (worse(heap[0]!, row)) {
      heap[0] = row
      sink(0, size)
    }
  }
  for (let end = size - 1; end > 0; end--) {
    const worst = heap[0]!
    heap[0] = heap[end]!
    heap[end] = worst
    sink(0, end)
  }
  return { indices: heap, scores: Float64Array.from(heap, (row) => scores[row]!) }
}
