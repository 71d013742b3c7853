/** What the configuration asks of the judge: the same in a stream and over files. */

import type { JudgeOptions } from '../distill/index.ts'
import type { Config } from '../schemas/index.ts'

/** Every option of `guard` but its mode, which is about what follows from a judgment. */
export function judgeOptions({ guard, sequences, seed }: Pick<Config, 'guard' | 'sequences' | 'seed'>): JudgeOptions {
  const { mode: _, ...rules } = guard
  return { historyLength: sequences.history, ...rules, seed }
}
