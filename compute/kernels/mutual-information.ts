/**
 * How much two labelings of the same things tell of each other.
 * Invariant: the names of labels mean nothing; renaming them changes no figure beyond rounding.
 */

import { SidestreamError } from '../../schemas/index.ts'

/**
 * Normalized mutual information 2 I(A; B) / (H(A) + H(B)), from 0 (independent) to 1 (the same partition).
 * @param a - label of each thing, shape [n]
 * @param b - its other label, shape [n]
 * @returns NaN when both sides hold one label only, or there is nothing
 * @throws SIDESTREAM_SHAPE_MISMATCH when lengths differ
 */
export function normalizedMutualInformation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length
  if (b.length !== n) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `NMI needs two labels each: ${n} and ${b.length}`)
  const [first, second] = [numbered(a), numbered(b)]
  const joint = new Map<number, number>()
  for (let i = 0; i < n; i++) {
    const cell = first.numbers[i]! * second.counts.length + second.numbers[i]!
    joint.set(cell, (joint.get(cell) ?? 0) + 1)
  }
  let information = 0
  for (const [cell, count] of joint) {
    const expected = first.counts[Math.floor(cell / second.counts.length)]! * second.counts[cell % second.counts.length]!
    information += (count / n) * Math.log((count * n) / expected)
  }
  const entropies = entropy(first.counts, n) + entropy(second.counts, n)
  return entropies > 0 ? (2 * information) / entropies : NaN
}

/** Labels as numbers from 0 in order of appearance, and how often each appears. */
function numbered(labels: ArrayLike<number>): { readonly numbers: Int32Array; readonly counts: readonly number[] } {
  const known = new Map<number, number>()
  const counts: number[] = []
  const numbers = new Int32Array(labels.length)
  for (let i = 0; i < labels.length; i++) {
    let number = known.get(labels[i]!)
    if (number === undefined) {
      known.set(labels[i]!, (number = counts.length))
      counts.push(0)
    }
    counts[number]!++
    numbers[i] = number
  }
  return { numbers, counts }
}

/** Shannon entropy of a partition in nats. */
function entropy(counts: readonly number[], n: number): number {
  return counts.reduce((sum, count) => sum - (count / n) * Math.log(count / n), 0)
}
