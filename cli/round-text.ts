/** Training rounds as people read them. */

import type { Config } from '../schemas/index.ts'

/** Start of a round in event time, ISO 8601. */
export function roundTime(round: number, { training }: Pick<Config, 'training'>): string {
  return new Date(round * training.roundMs).toISOString()
}

/** Mean of a round's step losses; null when there was nothing to train on. */
export function meanLoss(losses: readonly number[]): number | null {
  return losses.length === 0 ? null : losses.reduce((sum, loss) => sum + loss, 0) / losses.length
}
