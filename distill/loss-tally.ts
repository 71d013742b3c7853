/** Losses of a training plan by pass and by source. */

import type { SourceRows } from './step-order.ts'
import type { StepResult, TrainingResult } from './trainer.ts'

export class LossTally {
  readonly #perPass: number
  readonly #passes: { sum: number; steps: number }[] = []
  readonly #sources = new Map<string, { sum: number; steps: number }>()
  #steps = 0

  constructor(perPass: number) {
    this.#perPass = perPass
  }

  add({ source, loss }: StepResult): void {
    if (this.#steps++ % this.#perPass === 0) this.#passes.push({ sum: 0, steps: 0 })
    if (!this.#sources.has(source)) this.#sources.set(source, { sum: 0, steps: 0 })
    for (const sum of [this.#passes.at(-1)!, this.#sources.get(source)!]) {
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
          const { sum, steps } = this.#sources.get(source) ?? { sum: NaN, steps: 0 }
          return [source, { rows: rows.length, dropped, steps, loss: sum / steps }]
        }),
      ),
    }
  }
}
