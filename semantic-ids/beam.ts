/**
 * The float64 reference of encoding by beam: from level to level the W partial IDs of least total cost are followed.
 * Invariant: costs are squared distances by direct differences plus the penalties so far, added in level order; of equal costs the
 * lexicographically smaller ID comes first.
 */

import type { Codebooks, WalkSettings } from './codebooks.ts'
import { boundedDistance, squaredDistance, subtract } from './distances.ts'
import type { Sticky } from './sticky.ts'

/** Whether codes are found by beam: a beam over one level of codewords is greedy. */
export function usesBeam({ levels }: Codebooks, { beam = 1 }: Pick<WalkSettings, 'beam'>): boolean {
  return beam > 1 && levels.length > 1
}

/** A partial ID. */
interface Path {
  /** float64, shape [dim]: what its codes leave. */
  readonly residual: Float64Array
  readonly codes: number[]
  /** Sum of the penalties of its codes. */
  penalty: number
}

/** A partial ID one level longer. */
interface Candidate {
  readonly path: number
  readonly code: number
  readonly cost: number
}

export class BeamReference {
  readonly #codebooks: Codebooks
  readonly #width: number
  /** Two sets of paths, read and written in turns. */
  #from: Path[]
  #to: Path[]

  constructor(codebooks: Codebooks, width: number) {
    this.#codebooks = codebooks
    this.#width = width
    const paths = (): Path[] => Array.from({ length: width }, () => ({ residual: new Float64Array(codebooks.dim), codes: [], penalty: 0 }))
    this.#from = paths()
    this.#to = paths()
  }

  /**
   * Decides the levels with codewords of one row.
   * @param residual - float64, shape [dim], the row; afterwards what the codes leave
   * @param at - where the row's codes begin in `codes` and `sticky.old`
   * @param doubted - whether the codes that stand there are to be decided, or taken as they are
   * @returns whether the codes are the old ones, kept by the sticky rule
   */
  decide(residual: Float64Array, sticky: Sticky | undefined, at: number, codes: Uint16Array, doubted: boolean): boolean {
    const { dim, levels, penalties } = this.#codebooks
    if (!doubted) {
      for (const [level, words] of levels.entries()) subtract(residual, words, codes[at + level]! * dim)
      return sticky !== undefined && levels.every((_, level) => codes[at + level] === sticky.old[at + level])
    }
    const start = this.#from[0]!
    start.residual.set(residual)
    start.penalty = 0
    start.codes.length = 0
    let paths = 1
    let best = 0
    for (let level = 0; level < levels.length; level++) {
      const kept = this.#extend(paths, level)
      for (const [i, { path, code }] of kept.entries()) {
        const from = this.#from[path]!
        const to = this.#to[i]!
        to.residual.set(from.residual)
        subtract(to.residual, levels[level]!, code * dim)
        to.penalty = from.penalty + (penalties?.[level]?.[code] ?? 0)
        to.codes.length = 0
        to.codes.push(...from.codes, code)
      }
      paths = kept.length
      best = kept[0]!.cost
      ;[this.#from, this.#to] = [this.#to, this.#from]
    }
    let chosen = this.#from[0]!
    const keeps = sticky !== undefined && sticky.old[at]! >= 0 && this.#keepsOld(residual, sticky, at, best)
    if (keeps) {
      chosen = this.#to[0]!
      chosen.codes.length = 0
      for (let level = 0; level < levels.length; level++) chosen.codes.push(sticky.old[at + level]!)
    }
    for (let level = 0; level < levels.length; level++) {
      codes[at + level] = chosen.codes[level]!
      subtract(residual, levels[level]!, chosen.codes[level]! * dim)
    }
    return keeps
  }

  /** The best continuations of the first `paths` paths, best first. */
  #extend(paths: number, level: number): Candidate[] {
    const { dim, levels, sizes, penalties } = this.#codebooks
    const codebook = levels[level]!
    const costs = penalties?.[level]
    // The last level needs its best only.
    const most = level + 1 === levels.length ? 1 : this.#width
    const kept: Candidate[] = []
    for (let path = 0; path < paths; path++) {
      const { residual, penalty } = this.#from[path]!
      for (let code = 0; code < sizes[level]!; code++) {
        const bound = kept.length === most ? kept[most - 1]!.cost : Infinity
        const cost = boundedDistance(residual, codebook, code * dim, bound) + (penalty + (costs?.[code] ?? 0))
        if (cost > bound) continue
        const candidate = { path, code, cost }
        let place = kept.length
        while (place > 0 && this.#precedes(candidate, kept[place - 1]!)) place--
        if (place === most) continue
        kept.splice(place, 0, candidate)
        if (kept.length > most) kept.pop()
      }
    }
    return kept
  }

  #precedes(a: Candidate, b: Candidate): boolean {
    if (a.cost !== b.cost) return a.cost < b.cost
    const before = this.#from[a.path]!.codes
    const after = this.#from[b.path]!.codes
    for (let level = 0; level < before.length; level++) if (before[level] !== after[level]) return before[level]! < after[level]!
    return a.code < b.code
  }

  #keepsOld(row: Float64Array, { old, delta }: Sticky, at: number, best: number): boolean {
    if (delta === Infinity) return true
    const { dim, levels, penalties } = this.#codebooks
    const { residual } = this.#to[0]!
    residual.set(row)
    let penalty = 0
    for (let level = 0; level + 1 < levels.length; level++) {
      const code = old[at + level]!
      subtract(residual, levels[level]!, code * dim)
      penalty += penalties?.[level]?.[code] ?? 0
    }
    const last = levels.length - 1
    const code = old[at + last]!
    const cost = squaredDistance(residual, levels[last]!, code * dim) + (penalty + (penalties?.[last]?.[code] ?? 0))
    return cost <= (1 + delta) * best
  }
}
