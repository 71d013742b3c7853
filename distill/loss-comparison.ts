/**
 * Whether training has left the head worse at the rows it trains on than it found it.
 * The loss alone does not tell: it changes with rows, negatives and temperature. So the same batches go through three heads: as it
 * is, as it was when the plan began, and without any training; all with the temperatures of now, and without mined negatives,
 * which are chosen against one of them.
 * Invariant: nothing that is trained is touched.
 */

import { Graph, TrainingSession, type ComputeWorker, type Tensor } from '../compute/index.ts'
import type { Batch } from './batches.ts'
import { createHead, type Head } from './head.ts'
import { batchFeeds, plainStep, sourceLoss, type StepOptions } from './source-graph.ts'
import type { SourceOverride, TrainingSource } from './sources.ts'

/** Batches that are looked at, the newest. */
export const comparedBatches = 8
/** How many of them may be no worse. By chance alone that few are in 9 of 256 cases, and the newest rows favor the head of now. */
const sparedBatches = 1
/** A batch is worse from this much more loss on (nats a row): rows that are told apart already differ by noise alone. */
const leastRise = 0.01

type State = Readonly<Record<string, Tensor>>

/** Mean losses over the batches that are worse. */
export interface WorseLoss {
  readonly now: number
  readonly begun: number
  readonly untrained: number
}

/** What is compared. */
export interface ComparedHeads {
  /** Everything that is trained, by name, as it is. */
  readonly now: State
  /** The same when the plan began. */
  readonly begun: State
}

export class LossComparison {
  readonly #untrained: Head
  readonly #worker: ComputeWorker
  readonly #options: StepOptions & { readonly threads: number; readonly providers: readonly string[] }
  readonly #open = new Map<string, Promise<{ readonly graph: Graph; readonly session: TrainingSession }>>()

  /**
   * @param head - any of the heads; they share spec and statistics
   * @param worker - the trainer's thread, idle while heads are compared
   */
  constructor(
    head: Head,
    worker: ComputeWorker,
    options: StepOptions & { readonly threads: number; readonly providers: readonly string[] },
  ) {
    this.#untrained = createHead(head.spec, head.statistics)
    this.#worker = worker
    this.#options = options
  }

  /**
   * Undefined as soon as two batches are no worse than at the plan's beginning, or no worse than without training: a head that
   * trains well costs four forward passes.
   * @param batches - `comparedBatches` of them, the newest first, each made when it is asked for, with what the plan changes in its loss
   */
  async worse(
    batches: Iterable<{ readonly source: TrainingSource; readonly override: SourceOverride; readonly batch: Batch }>,
    { now, begun }: ComparedHeads,
  ): Promise<WorseLoss | undefined> {
    const losses: WorseLoss[] = []
    let spared = 0
    for (const { source, override, batch } of batches) {
      const { graph, session } = await this.#session(source, override)
      const { learningRate: _, ...feeds } = batchFeeds(batch, this.#untrained, source, 0)
      const lossWith = async (head: State): Promise<number> => {
        const state = Object.fromEntries([...graph.states.keys()].map((name) => [name, (name.startsWith('logTau.') ? now : head)[name]!]))
        await session.setState(state)
        return Number((await session.step(feeds))['loss']!.data[0])
      }
      const found = { now: await lossWith(now), begun: await lossWith(begun), untrained: Infinity }
      const isWorse = (than: number): boolean => found.now > than + leastRise
      if (isWorse(found.begun)) found.untrained = await lossWith(initial(graph))
      if (isWorse(found.begun) && isWorse(found.untrained)) losses.push(found)
      else if (++spared > sparedBatches) return undefined
    }
    const mean = (head: keyof WorseLoss): number => losses.reduce((sum, loss) => sum + loss[head], 0) / losses.length
    return { now: mean('now'), begun: mean('begun'), untrained: mean('untrained') }
  }

  #session(source: TrainingSource, override: SourceOverride): Promise<{ readonly graph: Graph; readonly session: TrainingSession }> {
    const key = JSON.stringify([source.name, override])
    let open = this.#open.get(key)
    if (open === undefined) this.#open.set(key, (open = this.#create(source, override)))
    return open
  }

  async #create(source: TrainingSource, override: SourceOverride): Promise<{ readonly graph: Graph; readonly session: TrainingSession }> {
    const { threads, providers } = this.#options
    const graph = new Graph({ name: `loss of ${source.name}` })
    graph.output('loss', sourceLoss(graph, this.#untrained, source, this.#options, { ...plainStep, ...override }).loss)
    return { graph, session: await TrainingSession.create(graph, { threads, providers, worker: this.#worker }) }
  }
}

function initial(graph: Graph): State {
  return Object.fromEntries(Array.from(graph.states, ([name, { initial: start }]) => [name, start]))
}
