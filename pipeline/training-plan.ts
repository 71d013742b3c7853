/**
 * What `training.sources` and `training.stages` ask of the trainer: the one place where configuration becomes options.
 * Invariant: a configuration that names neither gives one source of sequences and one stage over it.
 */

import type { Config } from '../schemas/index.ts'
import { weigherOf } from '../distill/index.ts'
import type {
  OfflineOptions,
  OfflineTeacherKind,
  SourceOptions,
  SourceOverride,
  StageBalance,
  StageOptions,
  TeacherEntity,
} from '../distill/index.ts'

/** Where a training runs, which decides what is meant by null. */
type TrainingPlace = 'files' | 'rounds'

export interface ConfiguredTraining {
  readonly sources: readonly SourceOptions[]
  /** Run once, before the first round. */
  readonly start: readonly StageOptions[]
  /** Run in every round; over files once. */
  readonly round: readonly StageOptions[]
}

/**
 * Sources and stages of a configuration.
 * @param dims - dimension of each kind of ID embedding, by name; a kind without one teaches nothing and is left out, and so is a
 *   source without the kind that weighs its items: nobody of it is trusted yet
 */
export function configuredTraining(
  { training }: Pick<Config, 'training'>,
  place: TrainingPlace,
  dims: ReadonlyMap<string, number> = new Map(),
): ConfiguredTraining {
  const sources = Object.entries(training.sources).flatMap(([name, own]): SourceOptions[] => {
    const {
      kind,
      temperature,
      learnTemperature,
      losses,
      scored,
      positiveFrom,
      cosentTemperature,
      patterns,
      pooler,
      maskHistory,
      modalityDropout,
    } = own
    const entities = own.entities.flatMap((entity): TeacherEntity[] => {
      const dim = dims.get(entity)
      return dim === undefined ? [] : [{ name: entity, dim }]
    })
    if (kind === 'ids' && !dims.has(weigherOf(Object.keys(training.teachers)[0], own.entities) ?? '')) return []
    return [
      {
        name,
        kind,
        tauMode: learnTemperature ? 'learned' : 'fixed',
        ...(temperature !== null && { tau: temperature }),
        modalityDropout,
        ...(kind === 'pairs' && { losses, scored, positiveFrom, cosentTau: cosentTemperature, patterns }),
        ...(kind === 'sequences' && { pooler, maskHistory }),
        ...(kind === 'ids' && { entities }),
      },
    ]
  })
  const known = new Set(sources.map(({ name }) => name))
  const stagesOf = (when: 'start' | 'round'): StageOptions[] =>
    training.stages.filter((stage) => stage.when === when).map((stage) => stageOptions(stage, training, known, place))
  return { sources, start: stagesOf('start'), round: stagesOf('round') }
}

function stageOptions(
  own: Config['training']['stages'][number],
  training: Config['training'],
  known: ReadonlySet<string>,
  place: TrainingPlace,
): StageOptions {
  const { name, steps, dropFarthest, hardNegatives, maskInBatch, mineEvery } = own
  const mines = hardNegatives > 0 || maskInBatch
  const overrides = overridesOf(own)
  return {
    name,
    sources: (own.sources ?? Object.keys(training.sources)).filter((source) => known.has(source)),
    balance: balanceOf(own, training.balance),
    ...(steps === null ? { passes: own.passes ?? (place === 'files' ? training.epochs : 1) } : { steps }),
    learningRate: own.learningRate ?? training.learningRate,
    schedule: own.schedule ?? (place === 'files' || own.when === 'start' ? 'one-cycle' : 'constant'),
    ...(own.warmupShare !== null && { warmupShare: own.warmupShare }),
    // Rounds are one training without end, unless a stage asks for a curve of its own.
    ...(place === 'rounds' && own.when === 'round' && own.schedule === null && { continues: { warmupSteps: training.warmupSteps } }),
    ...(mines && { mining: { perQuery: hardNegatives, maskInBatch, every: mineEvery, ...training.mining } }),
    ...(Object.keys(overrides).length > 0 && { overrides }),
    dropFarthest,
  }
}

/** What a stage changes in the loss of its sources; a weight that is null is the source's. */
function overridesOf({ temperatures, losses }: Config['training']['stages'][number]): Record<string, SourceOverride> {
  const names = [...new Set([...Object.keys(temperatures), ...Object.keys(losses)])]
  return Object.fromEntries(
    names.map((name) => {
      const tau = temperatures[name]
      const weights = Object.entries(losses[name] ?? {}).filter(([, weight]) => weight !== null)
      return [name, { ...(tau !== undefined && { tau }), ...(weights.length > 0 && { losses: Object.fromEntries(weights) }) }]
    }),
  )
}

function balanceOf(
  { balance, balanceTemperature, shares }: Config['training']['stages'][number],
  { iterations: maxIterations, ...options }: Config['training']['balance'],
): StageBalance {
  if (balance === 'tasks') return { by: 'tasks', temperature: balanceTemperature, maxIterations, ...options }
  return balance === 'shares' ? { by: 'shares', shares } : { by: 'rows' }
}

/** Kinds of ID embeddings that teach, and how they are trusted. */
export function configuredTeachers({ training }: Pick<Config, 'training'>): Required<Pick<OfflineOptions, 'teacherKinds' | 'weighing'>> {
  const { teachers, teacherStaleMs, teacherMinExposures, teacherSaturation } = training
  return {
    teacherKinds: Object.entries(teachers).map(([name, kind]): OfflineTeacherKind => ({ name, ...kind })),
    weighing: { staleMs: teacherStaleMs, minExposures: teacherMinExposures, saturation: teacherSaturation },
  }
}
