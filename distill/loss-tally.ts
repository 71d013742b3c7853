/** Losses of a training plan by pass and by source, and rows that taught nothing. */

import type { SourceRows } from './step-order.ts'
import type { StepResult, TrainingResult } from './trainer.ts'

export class LossTally {
  readonly #perPass: number
  readonly #passes: { sum: number; steps: number }[] = []
  readonly #sources = new Map<string, { sum: number; steps: number; withoutNegatives: number }>()
  #steps = 0

  constructor(perPass: number) {
    this.#perPass = perPass
  }

  add({ source, loss, withoutNegatives }: StepResult): void {
    if (this.#steps++ % this.#perPass === 0) this.#passes.push({ sum: 0, steps: 0 })
    const own = this.#sources.get(source) ?? { sum: 0, steps: 0, withoutNegatives: 0 }
    this.#sources.set(source, own)
    own.withoutNegatives += withoutNegatives
    for (const sum of [this.#passes.at(-1)!, own]) {
      sum.sum += loss
      sum.steps++
    }
  }

  result(sources: readonly (SourceRows & { readonly dropped: number })[]): Omit<TrainingResult, 'steps'> {
    return {
      rows: sources.reduce((sum, { rows }) => sum + rows.length, 0),
      dropped: sources.reduce((sum, { dropped }) => sum + dropped, 0),
      losses: this.#passes.length === 0 ? [NaN] : this.#passes.map(({ sum, steps }) => sum / steps),
      sources: Object.fromEntries(
        sources.map(({ source, rows, dropped }) => {
          const { sum, steps, withoutNegatives } = this.#sources.get(source) ?? { sum: NaN, steps: 0, withoutNegatives: 0 }
          return [source, { rows: rows.length, dropped, steps, withoutNegatives, loss: sum / steps }]
        }),
      ),
    }
  }
}
