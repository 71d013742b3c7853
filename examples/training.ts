/**
 * Trains a head the way the evaluations need it: in memory, pass by pass, every part open to be changed.
 * Invariant: with the setup of an example as it stands this is what the product does; the same setup and seed give the same bits.
 */
import { oneCycleSchedule } from '../compute/index.ts'
import { createHead, createMiner, HeadEncoder, stepsPerPass, Trainer, trainerDefaults } from '../distill/index.ts'
import type {
  ContentVectors,
  Head,
  HeadOptions,
  MinerOptions,
  ModalityStatistics,
  TrainerOptions,
  TrainingPlan,
  TrainingRow,
  VectorSet,
} from '../distill/index.ts'

/** Everything a training is made of. */
export interface TrainingSetup {
  readonly head: Omit<HeadOptions, 'seed'>
  /** In the order of the head's modalities. */
  readonly statistics: readonly ModalityStatistics[]
  /** All items, in the order of the vectors that are wanted. */
  readonly content: ReadonlyMap<string, ContentVectors>
  readonly trainer: TrainerOptions
  readonly passes: number
  /** Highest of the one-cycle rate. */
  readonly learningRate: number
  /** Rows of the first source in a pass, as many in every pass. */
  readonly rows: (seed: number, pass: number) => readonly TrainingRow[]
  /** Rows of further sources, the same in every pass; asked with the fresh head. */
  readonly furtherRows?: (head: Head) => Promise<Readonly<Record<string, readonly TrainingRow[]>>>
  /** Changes the fresh head. */
  readonly start?: (head: Head) => Head
  /** Negatives, from the middle pass on, chosen anew for each with the head as it is then. */
  readonly mining?: MinerOptions
  readonly teachers?: TrainingPlan['teachers']
}

/** Trains a head and gives its published vectors of all items. */
export async function trainVectors(setup: TrainingSetup, seed: number): Promise<VectorSet> {
  const encoder = await HeadEncoder.create(await trainHead(setup, seed))
  try {
    return { vectors: (await encoder.encode([...setup.content.values()])).published, dim: encoder.dim }
  } finally {
    await encoder.close()
  }
}

/** Trains a head. */
export async function trainHead(setup: TrainingSetup, seed: number): Promise<Head> {
  const { content, passes, mining, start = (head: Head) => head } = setup
  const fresh = start(createHead({ ...setup.head, seed }, setup.statistics))
  const further = (await setup.furtherRows?.(fresh)) ?? {}
  const { batchSize, sources } = { ...trainerDefaults, ...setup.trainer }
  const lookup = (id: string): ContentVectors | undefined => content.get(id)
  const trainer = await Trainer.create(fresh, setup.trainer)
  try {
    for (let pass = 0; pass < passes; pass++) {
      const rows = { [sources[0]!.name]: setup.rows(seed, pass), ...further }
      const perPass = stepsPerPass(
        Object.entries(rows).map(([source, own]) => ({ source, rows: own })),
        batchSize,
      )
      const { losses } = await trainer.train(rows, lookup, {
        schedule: oneCycleSchedule({ totalSteps: passes * perPass, max: setup.learningRate }),
        steps: (pass + 1) * perPass,
        skip: pass * perPass,
        shuffleSeed: seed,
        ...(mining && pass >= passes / 2
          ? { mining: createMiner({ content: lookup, trainer, teachers: setup.teachers }, { ...mining, seed }) }
          : {}),
        ...(setup.teachers ? { teachers: setup.teachers } : {}),
      })
      console.error(`seed ${seed}: pass ${pass + 1} of ${passes}, loss ${losses.at(-1)!.toFixed(3)}`)
    }
    return await trainer.head()
  } finally {
    await trainer.close()
  }
}
