/**
 * What training says when it has diverged: one error for each way to find it, all with the code SIDESTREAM_TRAINING_DIVERGED.
 */

import type { Tensor } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { comparedBatches, type WorseLoss } from './loss-comparison.ts'
import type { RisenLoss } from './loss-watch.ts'
import type { StepResult } from './trainer.ts'

const lastGood = 'The last good state is kept'

/** Of a step whose loss or gradient is not finite; undefined when both are. */
export function stepNotFinite({ source, loss, gradientNorm }: StepResult, step: number): SidestreamError | undefined {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return undefined
  const what = `step ${step} (source ${source}): loss ${loss}, gradient ${gradientNorm}`
  return diverged(`at ${what}; lower the learning rate or raise tau. ${lastGood}`, { step, source })
}

/** The loss of a step is that of the weights before it, so the last step of a pass is seen only here. */
export function stateNotFinite(state: Readonly<Record<string, Tensor>>, step: number): SidestreamError | undefined {
  for (const [name, { dtype, data }] of Object.entries(state)) {
    if (dtype !== 'float32' || allFinite(data as Float32Array)) continue
    return diverged(`at step ${step - 1}: ${name} is not finite after it; lower the learning rate or raise tau. ${lastGood}`, {
      step: step - 1,
      name,
    })
  }
  return undefined
}

/** A loop: a call for each number takes eight times as long, and this is all numbers of a training state after every pass. */
function allFinite(data: Float32Array): boolean {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i]!)) return false
  return true
}

/** Where training stands, and the step whose state is left. */
interface Standing {
  readonly step: number
  readonly kept: number
}

/** @param maxRise - how many times was borne */
export function lossRose({ first, last }: RisenLoss, source: string, maxRise: number | null, { step, kept }: Standing): SidestreamError {
  return diverged(
    `by step ${step}: the mean loss of source ${source} rose from ${first.toFixed(3)} to ${last.toFixed(3)}, more than ${maxRise} times (training.maxLossRise); lower the learning rate, or raise that option if so much is meant to be. The state of step ${kept} is kept`,
    { step, source, first, last },
  )
}

export function headWorse({ now, begun, untrained }: WorseLoss, { step, kept }: Standing): SidestreamError {
  return diverged(
    `by step ${step}: on rows of its last ${comparedBatches} steps the mean loss is ${now.toFixed(3)}, with the head that it began with ${begun.toFixed(3)}, without any training ${untrained.toFixed(3)}; lower the learning rate, or set training.maxLossRise to null to keep such a head. The state of step ${kept} is kept`,
    { step, now, begun, untrained },
  )
}

function diverged(what: string, details: Readonly<Record<string, unknown>>): SidestreamError {
  return new SidestreamError('SIDESTREAM_TRAINING_DIVERGED', `training diverged ${what}`, details)
}
