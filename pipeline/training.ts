/**
 * Trains the head round by round and keeps a checkpoint per round.
 * Invariant: a checkpoint is a function of the one before it, the round's rows and their content; training a round again
 * after a crash writes the same artifact.
 */

import { constantAfterWarmup } from '../compute/index.ts'
import {
  buildTeacherBatch,
  createHead,
  decodeCheckpoint,
  encodeCheckpoint,
  fitStatistics,
  headSpec,
  prepareRound,
  prepareSets,
  Trainer,
} from '../distill/index.ts'
import type {
  Checkpoint,
  ContentVectors,
  Head,
  HeadOptions,
  HeadSpec,
  PreparedRound,
  RoundSets,
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
import { roundRows, roundText, trainedPut, waitingPuts } from './samples-state.ts'
import { teacherOptions, teachersAsOf } from './teacher-state.ts'

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
    threads: training.threads,
    providers: training.providers,
  }
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
  /** Set when training diverged: the round is passed over and the last good head stays. */
  readonly diverged: string | null
}

/** Goes on training from the newest checkpoint, one closed round after the other. */
export class RoundTraining {
  readonly #project: Project
  readonly #lanes: OwnerLanes
  #trainer: Trainer | undefined
  #head: Head | undefined

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
    const { rows, counts: sets } = prepareSets(prepared, { ...setOptions(config), seed: config.seed, item })
    const teachers = this.#countTeachers(rows, endTs, item)
    // The process may have ended between the checkpoint and the commit: the checkpoint stands.
    const stands = (await listCheckpoints(this.#project)).includes(checkpointName(round))
    const { checkpoint, ...outcome } =
      rows.length > 1 && !stands
        ? await this.#pass(round, cut, rows, (itemId) => item(itemId)?.vectors, onStep)
        : { losses: [], diverged: null }
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
    round: number,
    cut: readonly TopicPosition[],
    rows: RoundSets['rows'],
    content: (itemId: string) => ContentVectors | undefined,
    onStep: (step: number, loss: number) => void,
  ): Promise<Pick<TrainedRound, 'losses' | 'diverged'> & { readonly checkpoint?: Checkpoint }> {
    const { config } = this.#project
    const trainer = await this.#resume()
    try {
      const stepLosses: number[] = []
      const { losses } = await trainer.train(rows, content, {
        schedule: constantAfterWarmup({ max: config.training.learningRate, warmupSteps: config.training.warmupSteps }),
        onStep: (step, { loss }) => {
          stepLosses.push(loss)
          onStep(step, loss)
        },
      })
      const offsets = Object.fromEntries(
        cut.filter(({ topic }) => topic === 'distill-samples').map(({ partition, next }) => [String(partition), next]),
      )
      const checkpoint = await trainer.checkpoint({
        trainedUntil: this.#lanes.clock.endOf(round),
        round,
        offsets,
        seeds: { head: config.seed, rows: config.seed },
        metrics: { loss: losses[0] ?? NaN, rows: rows.length },
      })
      return { losses: stepLosses, diverged: null, checkpoint }
    } catch (error) {
      if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_TRAINING_DIVERGED') throw error
      this.#project.logger.error({ round, code: error.code }, error.message)
      await this.close()
      return { losses: [], diverged: error.message }
    }
  }

  #countTeachers(rows: RoundSets['rows'], endTs: number, item: (itemId: string) => ItemContent | undefined): TrainedRound['teachers'] {
    const { config, codec } = this.#project
    const { state } = this.#lanes
    const options = teacherOptions(config, state, endTs)
    if (options === undefined) return {}
    const targets = [...new Set(rows.map(({ targetId }) => targetId))].map((targetId) => ({ targetId }))
    const { counts } = buildTeacherBatch(targets, teachersAsOf(state, codec, endTs, item), options)
    return Object.fromEntries(options.kinds.map(({ name }, k) => [name, counts[k]!]))
  }

  /** The running trainer, or one that goes on from the newest checkpoint. */
  async #resume(): Promise<Trainer> {
    if (this.#trainer !== undefined) return this.#trainer
    const { config } = this.#project
    const newest = (await listCheckpoints(this.#project)).at(-1)
    const checkpoint = await readCheckpoint(this.#project, newest ?? bootstrapHead, { training: true })
    this.#head = checkpoint.head
    this.#trainer = await Trainer.create(this.#head, trainerOptions(config), checkpoint.training)
    return this.#trainer
  }
}
