/** What an offline run is asked for: its options, and the sources and stages that follow from them. */

import type { HeadOptions } from './head.ts'
import type { JudgeOptions } from './judge.ts'
import type { OfflineTeacherKind } from './offline-data.ts'
import type { OfflineSource, OfflineWeighing } from './offline-sources.ts'
import type { SampleSetOptions } from './sample-sets.ts'
import type { SampleOptions } from './samples.ts'
import type { StageOptions } from './stages.ts'
import { trainerDefaults, type TrainerOptions } from './trainer.ts'

/** What is trained on, and in which stages. */
export interface OfflinePlan {
  readonly sources: readonly OfflineSource[]
  readonly stages: readonly StageOptions[]
}

export interface OfflineOptions {
  readonly head: HeadOptions
  readonly samples: SampleOptions
  /**
   * Which rows are made of the samples. The filtered sets need `samples.marks`.
   * @default the plain set, with `samples.historyLength` items
   */
  readonly sets?: SampleSetOptions
  /** Source of pairs of the plan whose content gives the cut of `content-single`. @default none: as `sets` says */
  readonly contentCutFrom?: string
  readonly trainer?: Omit<TrainerOptions, 'sources'>
  /**
   * Sources and stages, given the dimension of each kind of ID embedding that there is.
   * @default one source of sequences in one stage, with `passes` and `learningRate`
   */
  readonly plan?: (dims: ReadonlyMap<string, number>) => OfflinePlan
  /**
   * How often the samples are gone through, without a plan.
   * @default 6
   */
  readonly passes?: number
  /**
   * Highest learning rate of the cycle, without a plan. Chosen on the evening before the test day of globo-news: 1e-3 gives less
   * of everything there but cold popularity AUC.
   * @default 2e-3
   */
  readonly learningRate?: number
  /** No stage takes more steps than this: a trial. @default as many as its passes have */
  readonly maxSteps?: number
  /**
   * Seed of the order of rows. (The head has its own.)
   * @default 0
   */
  readonly seed?: number
  /** Share of the interactions, the newest ones, and of the pairs, that is judged by and not trained on. @default 0 */
  readonly holdOut?: number
  /** Guard and gate on what is held out. @default nothing is judged */
  readonly judge?: JudgeOptions
  readonly teacherKinds?: readonly OfflineTeacherKind[]
  readonly weighing?: OfflineWeighing
  /** Steps between two calls of `keep`. @default 1000, or those of mining */
  readonly keepEvery?: number
}

export const offlineDefaults = { passes: 6, learningRate: 2e-3, seed: 0, holdOut: 0 } as const

/** Sources and stages, those asked for or one of each. */
export function planOf({ plan, passes, learningRate, maxSteps }: OfflineOptions, dims: ReadonlyMap<string, number>): OfflinePlan {
  const { sources, stages } = plan?.(dims) ?? {
    sources: trainerDefaults.sources,
    stages: [
      {
        name: 'collaboration',
        sources: trainerDefaults.sources.map(({ name }) => name),
        passes: passes ?? offlineDefaults.passes,
        learningRate: learningRate ?? offlineDefaults.learningRate,
      },
    ],
  }
  return { sources, stages: maxSteps === undefined ? stages : stages.map((stage) => ({ ...stage, maxSteps })) }
}

/** Whether given pairs of a name are trained on; others say nothing about the head, and do not judge it either. */
export function takesPairs({ sources }: OfflinePlan, name: string): boolean {
  return sources.some((source) => source.name === name && source.kind === 'pairs' && source.from !== 'content')
}
