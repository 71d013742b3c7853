/**
 * Trains the head round by round and keeps a checkpoint per round.
 * Invariant: a checkpoint is a function of the one before it, the round's rows and their content; training a round again
 * after a crash writes the same artifact.
 */

import { passedOverText } from '../compute/index.ts'
import { buildTeacherBatch, createHead, decodeCheckpoint, encodeCheckpoint, fitStatistics, headSpec } from '../distill/index.ts'
import { nobodyTaught, prepareRound, prepareSets, runStages, Trainer, withTaught } from '../distill/index.ts'
import type {
  Checkpoint,
  ContentVectors,
  Head,
  HeadOptions,
  HeadSpec,
  MiningReport,
  PreparedRound,
  RoundSets,
  SourceOptions,
  StageOptions,
  StageResult,
  TaughtItems,
  TeacherCounts,
  TrainerOptions,
} from '../distill/index.ts'
import { contentDims, isSidestreamError, SidestreamError } from '../schemas/index.ts'
import type { Config, ItemContent } from '../schemas/index.ts'
import { modalitiesOf } from './catalogue.ts'
import { catalogueAsOf, itemAsOf } from './content-state.ts'
import { setOptions } from './ingest.ts'
import type { OwnerLanes } from './owner-lanes.ts'
import type { TopicPosition } from './positions.ts'
import type { Project } from './project.ts'
import { replayRows } from './replay-rows.ts'
import { contentCutRows, roundSources, roundTeachers } from './round-sources.ts'
import type { RoundInput } from './round-sources.ts'
import { roundRows, roundText, trainedPut, waitingPuts } from './samples-state.ts'
import { teacherEntities, teacherOptions, teachersAsOf } from './teacher-state.ts'
import { configuredTraining } from './training-plan.ts'

/** The head before any training. */
export const bootstrapHead = 'heads/bootstrap'
const roundHeads = 'heads/round-'

export function checkpointName(round: number): string {
  return `${roundHeads}${roundText(round)}`
}

/** Round of a checkpoint's name; undefined for the bootstrap head. */
export function checkpointRound(name: string): number | undefined {
  return name.startsWith(roundHeads) ? Number(name.slice(roundHeads.length)) : undefined
}

/** Names of the rounds' checkpoints, oldest first. */
export function listCheckpoints({ artifacts }: Project): Promise<string[]> {
  return artifacts.list(roundHeads)
}

/** @throws SIDESTREAM_CONFIG_INVALID when the configuration describes another head; SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT */
export async function readCheckpoint(project: Project, name: string, options: { training: boolean }): Promise<Checkpoint> {
  const { manifest, parts } = await project.artifacts.read(name)
  const checkpoint = decodeCheckpoint({ parts, about: manifest.about }, options)
  requireSame(checkpoint.head.spec, headSpec(headOptions(project)), name)
  return checkpoint
}

/** The head that a project's configuration describes. */
export function headOptions({ config }: Pick<Project, 'config'>): HeadOptions {
  const { dim, hidden, prefixes, contentShare } = config.head
  return {
    modalities: modalitiesOf({ config }),
    dims: dim,
    hidden,
    prefixes,
    contentDims: contentDims(config),
    contentShare,
    seed: config.seed,
  }
}

/** Vectors are taken by their place among the modalities, so another order or size would be read as something else. */
function requireSame(stored: HeadSpec, configured: HeadSpec, name: string): void {
  const options = ['modalities', 'dims', 'hidden', 'prefixes', 'contentDims', 'contentShare'] as const
  const shown = (spec: HeadSpec, option: (typeof options)[number]): string =>
    option === 'modalities' ? spec.modalities.map(({ name: modality, dim }) => `${modality} ${dim}`).join(', ') : String(spec[option])
  const changed = options.filter((option) => shown(stored, option) !== shown(configured, option))
  if (changed.length === 0) return
  const what = changed.map((option) => `${option} ${shown(stored, option)} (the configuration says ${shown(configured, option)})`)
  throw new SidestreamError(
    'SIDESTREAM_CONFIG_INVALID',
    `${name} was made with ${what.join('; ')}: \`head\` and the order and dims of \`content.modalities\` stay as they are once there is a head; ` +
      'set them back, or start with a new data directory',
    { checkpoint: name },
  )
}

/** Writes the head of version 1, unless it stands: statistics of the catalogue before `cutTs`, PCA start. */
export async function writeBootstrapHead(project: Project, lanes: OwnerLanes, cutTs: number): Promise<void> {
  const { codec } = project
  if ((await project.artifacts.list(bootstrapHead)).includes(bootstrapHead)) return
  const modalities = modalitiesOf(project)
  const contents: ContentVectors[] = []
  for (const { value } of catalogueAsOf(lanes.state, cutTs)) contents.push(codec.decode('item-content', value).vectors)
  const head = createHead(headOptions(project), fitStatistics(modalities, contents))
  const position = { trainedUntil: 0, round: -1, offsets: {}, step: 0, seeds: { head: head.spec.seed }, metrics: {} }
  const { parts, about } = encodeCheckpoint({ head, position })
  await project.artifacts.write(bootstrapHead, parts, about)
}

/** The trainer that a configuration describes. */
export function trainerOptions({ training, sequences }: Config): TrainerOptions {
  return {
    tau: training.temperature,
    historyLength: sequences.history,
    batchSize: training.batch,
    weightDecay: training.weightDecay,
    clipNorm: training.clipNorm,
    maxLossRise: training.maxLossRise,
    prefixWeights: training.prefixWeights,
    pooler: training.pooler,
    threads: training.threads,
    providers: training.providers,
  }
}

/** What a source gave to a round. */
export interface RoundSource {
  /** Rows that could be trained on, over all stages. */
  readonly rows: number
  readonly dropped: number
  readonly steps: number
  /** Rows with nothing to be told apart from, summed over its steps: they taught nothing. */
  readonly withoutNegatives: number
  /** Mean loss over its steps. */
  readonly loss: number
  /** Temperature after its last step. */
  readonly tau: number
  /** Probability by which the last stage drew it; absent where nothing was drawn. */
  readonly share?: number
}

/** What became of a round. */
export interface TrainedRound {
  readonly round: number
  /** `rows`: what was trained on, over all sample sets. */
  readonly counts: PreparedRound['counts']
  /** What became of the histories of each sample set. */
  readonly sets: RoundSets['counts']
  /** Per kind of ID embedding: what was found for the distinct targets. */
  readonly teachers: Readonly<Record<string, TeacherCounts>>
  /** Rows of earlier rounds among those. */
  readonly replayed: number
  /** Loss of every step; empty when there was nothing to train on, or a checkpoint of the round stood already. */
  readonly losses: readonly number[]
  /** What became of every source that took a step. */
  readonly sources: Readonly<Record<string, RoundSource>>
  /** lambda* and hard negatives, each time they were mined. */
  readonly mined: readonly MiningReport[]
  /** Set when training diverged: the round is passed over and the last good head stays. */
  readonly diverged: string | null
}

/** Goes on training from the newest checkpoint, one closed round after the other. */
export class RoundTraining {
  readonly #project: Project
  readonly #lanes: OwnerLanes
  #trainer: Trainer | undefined
  /** What it trains on, as text. */
  #sources = ''
  /** Items whose ID embeddings taught the trainer's head. */
  #taught: TaughtItems = nobodyTaught

  constructor(project: Project, lanes: OwnerLanes) {
    this.#project = project
    this.#lanes = lanes
  }

  /**
   * Trains a closed round and commits that it is done.
   * @param cut - positions of the round's cut, as `control` has them
   * @param record - keeps what became of the round; awaited before there is a checkpoint, so that no checkpoint is without it
   * @param onStep - told the loss of every step
   */
  async train(
    round: number,
    cut: readonly TopicPosition[],
    record: (trained: TrainedRound) => Promise<void>,
    onStep: (step: number, loss: number) => void = () => {},
  ): Promise<TrainedRound> {
    const { config, codec } = this.#project
    const { state, clock } = this.#lanes
    const endTs = clock.endOf(round)
    const known = new Map<string, ItemContent | undefined>()
    const item = (itemId: string): ItemContent | undefined => {
      if (!known.has(itemId)) {
        const value = itemAsOf(state, itemId, endTs)
        known.set(itemId, value === undefined ? undefined : codec.decode('item-content', value))
      }
      return known.get(itemId)
    }
    const own = roundRows(state, codec, round).filter(({ sample }) => sample.history.length > 0)
    const replayed = replayRows(state, codec, {
      round,
      seed: config.seed,
      rounds: Math.ceil(config.training.replayMs / clock.roundMs),
      count: Math.round(config.training.replayShare * own.length),
    })
    const isKnown = (itemId: string): boolean => item(itemId) !== undefined
    const usable = replayed.filter(({ sample }) => isKnown(sample.targetId) && sample.history.some(isKnown))
    const prepared = prepareRound([...own, ...usable], { round, seed: config.seed, isKnown })
    const cutRows = await contentCutRows({ project: this.#project, state, round, endTs, rows: prepared.rows, item }, () =>
      this.#newestHead(),
    )
    const { rows, counts: sets } = prepareSets(prepared, { ...setOptions(config), seed: config.seed, item, ...(cutRows && { cutRows }) })
    const teachers = this.#countTeachers(rows, endTs, item)
    // The process may have ended between the checkpoint and the commit: the checkpoint stands.
    const stands = (await listCheckpoints(this.#project)).includes(checkpointName(round))
    const { checkpoint, ...outcome } =
      rows.length > 1 && !stands
        ? await this.#pass({ project: this.#project, state, round, endTs, rows, item }, cut, onStep)
        : { losses: [], diverged: null, sources: {}, mined: [] }
    const trained = { round, counts: { ...prepared.counts, rows: rows.length }, sets, teachers, replayed: usable.length, ...outcome }
    await record(trained)
    if (checkpoint !== undefined) {
      const { parts, about } = encodeCheckpoint(checkpoint)
      await this.#project.artifacts.write(checkpointName(round), parts, about)
    }
    await this.#lanes.change((now) => ({ puts: [...waitingPuts(now, codec, round + 1, prepared.waiting), trainedPut(round)] }))
    return trained
  }

  async close(): Promise<void> {
    await this.#trainer?.close()
    this.#trainer = undefined
  }

  async #pass(
    input: RoundInput,
    cut: readonly TopicPosition[],
    onStep: (step: number, loss: number) => void,
  ): Promise<Pick<TrainedRound, 'losses' | 'diverged' | 'sources' | 'mined'> & { readonly checkpoint?: Checkpoint }> {
    const { config } = this.#project
    const { round, rows, item } = input
    const teachers = roundTeachers(input)
    const { sources, start, round: stages } = configuredTraining(config, 'rounds', teachers?.dims)
    const isFirst = (await listCheckpoints(this.#project)).length === 0
    const trainer = await this.#resume(sources)
    try {
      const losses: number[] = []
      const results: StageResult[] = []
      const taus: Record<string, number> = {}
      const mined: MiningReport[] = []
      const run = async (own: readonly StageOptions[], place: 'start' | 'round'): Promise<void> => {
        if (own.length === 0) return
        const bySource = await roundSources(input, trainer.initialHead, teachers, place)
        const ran = await runStages({
          trainer,
          stages: own,
          rows: bySource,
          content: (itemId) => item(itemId)?.vectors,
          seed: config.seed,
          keepOrder: place === 'round',
          historyLength: config.sequences.history,
          // What users did in the round is the task that other sources are to serve.
          tasks: { round: rows },
          ...(teachers && { teachers: teachers.batch }),
          onStep: (_position, _total, { source, tau, loss }) => {
            taus[source] = tau
            losses.push(loss)
            onStep(trainer.step - 1, loss)
          },
          onMined: (_, report) => void mined.push(report),
        })
        results.push(...ran.results)
        const ofIds = sources.filter(
          ({ name, kind }) => kind === 'ids' && ran.results.some((result) => (result.sources[name]?.steps ?? 0) > 0),
        )
        this.#taught = withTaught(
          this.#taught,
          ofIds.flatMap(({ name }) => Array.from(bySource[name]!, ({ targetId }) => targetId)),
        )
      }
      if (isFirst) await run(start, 'start')
      await run(stages, 'round')
      const offsets = Object.fromEntries(
        cut.filter(({ topic }) => topic === 'distill-samples').map(({ partition, next }) => [String(partition), next]),
      )
      const steps = results.reduce((sum, result) => sum + result.steps, 0)
      if (steps === 0) return { losses, diverged: null, sources: {}, mined }
      const checkpoint = await trainer.checkpoint({
        trainedUntil: this.#lanes.clock.endOf(round),
        round,
        offsets,
        seeds: { head: config.seed, rows: config.seed },
        metrics: { loss: results.findLast(({ steps: own }) => own > 0)!.losses[0]!, rows: rows.length },
      })
      const taught = this.#taught
      return {
        losses,
        diverged: null,
        sources: sourcesOf(results, taus),
        mined,
        checkpoint: taught.length === 0 ? checkpoint : { ...checkpoint, taught },
      }
    } catch (error) {
      if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_TRAINING_DIVERGED') throw error
      this.#project.logger.error({ round, code: error.code }, error.message)
      await this.close()
      return { losses: [], diverged: error.message, sources: {}, mined: [] }
    }
  }

  async #newestHead(): Promise<Head> {
    const newest = (await listCheckpoints(this.#project)).at(-1)
    return (await readCheckpoint(this.#project, newest ?? bootstrapHead, { training: false })).head
  }

  #countTeachers(rows: RoundSets['rows'], endTs: number, item: (itemId: string) => ItemContent | undefined): TrainedRound['teachers'] {
    const { config, codec } = this.#project
    const { state } = this.#lanes
    const options = teacherOptions(config, state, endTs)
    const targets = [...new Set(rows.map(({ targetId }) => targetId))].map((targetId) => ({ targetId }))
    // A kind that never came is missing for all of them.
    const counts = new Map(
      teacherEntities(config).map((name): [string, TeacherCounts] => [name, { present: 0, missing: targets.length, stale: 0, refused: 0 }]),
    )
    if (options !== undefined) {
      // Counts do not depend on the kind that weighs, which may not have come yet.
      const counted = { ...options, weightBy: options.kinds[0]!.name }
      const found = buildTeacherBatch(targets, teachersAsOf(state, codec, endTs, item), counted).counts
      for (const [k, { name }] of options.kinds.entries()) counts.set(name, found[k]!)
    }
    return Object.fromEntries(counts)
  }

  /**
   * The running trainer, or one that goes on from the newest checkpoint: at a start, and when the sources have changed, as they do
   * when the first ID embeddings of a kind arrive.
   */
  async #resume(sources: readonly SourceOptions[]): Promise<Trainer> {
    const wanted = JSON.stringify(sources)
    if (this.#trainer !== undefined && this.#sources === wanted) return this.#trainer
    await this.close()
    const { config } = this.#project
    const newest = (await listCheckpoints(this.#project)).at(-1)
    const checkpoint = await readCheckpoint(this.#project, newest ?? bootstrapHead, { training: true })
    this.#trainer = await Trainer.create(checkpoint.head, { ...trainerOptions(config), sources }, checkpoint.training)
    const { providers } = this.#trainer
    if (providers.passedOver.length > 0) this.#project.logger.warn({}, passedOverText(providers))
    this.#sources = wanted
    this.#taught = checkpoint.taught ?? nobodyTaught
    return this.#trainer
  }
}

/** What became of each source over the stages of a round. */
function sourcesOf(results: readonly StageResult[], taus: Readonly<Record<string, number>>): Record<string, RoundSource> {
  const sums: Record<string, { rows: number; dropped: number; steps: number; withoutNegatives: number; sum: number }> = {}
  for (const { sources } of results) {
    for (const [name, { rows, dropped, steps, withoutNegatives, loss }] of Object.entries(sources)) {
      const known = (sums[name] ??= { rows: 0, dropped: 0, steps: 0, withoutNegatives: 0, sum: 0 })
      known.rows += rows
      known.dropped += dropped
      known.steps += steps
      known.withoutNegatives += withoutNegatives
      if (steps > 0) known.sum += steps * loss
    }
  }
  const shares = results.findLast((result) => result.shares !== null)?.shares ?? {}
  const trained = Object.entries(sums).filter(([, { steps }]) => steps > 0)
  return Object.fromEntries(
    trained.map(([name, { sum, ...counts }]) => {
      const share = shares[name]
      return [name, { ...counts, loss: sum / counts.steps, tau: taus[name]!, ...(share !== undefined && { share }) }]
    }),
  )
}
