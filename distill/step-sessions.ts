/**
 * The step graphs of all sources in one worker, over one shared state.
 * Invariant: every source's plain graph is open from the start, so a saved state is taken up, and saved again, whole.
 */

import {
  ComputeWorker,
  findProviders,
  optimizerPrefix,
  TrainingSession,
  type FoundProviders,
  type Graph,
  type Tensor,
} from '../compute/index.ts'
import type { Head } from './head.ts'
import { plainStep, stepGraph, type StepOptions, type StepVariant } from './source-graph.ts'
import type { TrainingSource } from './sources.ts'

interface SessionOptions extends StepOptions {
  readonly threads: number
  readonly providers: readonly string[]
}

export class StepSessions {
  readonly worker: ComputeWorker
  readonly providers: FoundProviders
  readonly #head: Head
  readonly #options: SessionOptions
  readonly #first: TrainingSession
  readonly #open = new Map<string, Promise<TrainingSession>>()

  private constructor(
    head: Head,
    worker: ComputeWorker,
    providers: FoundProviders,
    first: TrainingSession,
    source: TrainingSource,
    options: SessionOptions,
  ) {
    this.#head = head
    this.providers = providers
    this.worker = worker
    this.#options = options
    this.#first = first
    this.#open.set(sessionKey(source.name, plainStep), Promise.resolve(first))
  }

  /** Opens every source at once, so that a saved state is taken up whole, by those of the providers that can be used. */
  static async open(
    head: Head,
    sources: readonly TrainingSource[],
    options: SessionOptions,
    state: Readonly<Record<string, Tensor>> | undefined,
  ): Promise<StepSessions> {
    const { threads } = options
    const worker = new ComputeWorker({ name: 'training' })
    const [main, ...others] = sources.map((source) => stepGraph(head, source, plainStep, options))
    try {
      const found = await findProviders(worker, options.providers)
      const providers = found.used
      const first = await TrainingSession.create(main!, {
        threads,
        providers,
        worker,
        ...(state ? { state: withStarts(main!, head, state) } : {}),
      })
      const sessions = new StepSessions(head, worker, found, first, sources[0]!, { ...options, providers })
      for (const [i, graph] of others.entries()) {
        const session = await first.withGraph(graph, { threads, providers, ...(state ? { state } : {}) })
        sessions.#open.set(sessionKey(sources[i + 1]!.name, plainStep), Promise.resolve(session))
      }
      return sessions
    } catch (error) {
      await worker.close()
      throw error
    }
  }

  /** The session of a source's step; a variant's is made when first wanted. */
  of(source: TrainingSource, variant: StepVariant): Promise<TrainingSession> {
    const key = sessionKey(source.name, variant)
    let session = this.#open.get(key)
    if (session === undefined) {
      session = this.#first.withGraph(stepGraph(this.#head, source, variant, this.#options), {
        threads: this.#options.threads,
        providers: this.#options.providers,
      })
      this.#open.set(key, session)
    }
    return session
  }

  state(): Promise<Readonly<Record<string, Tensor>>> {
    return this.#first.state()
  }

  resetOptimizer(): Promise<void> {
    return this.#first.setState(this.#first.initialState((name) => name.startsWith(optimizerPrefix)))
  }

  close(): Promise<void> {
    return this.worker.close()
  }
}

/**
 * A saved state with what it lacks of a source's own parameters (temperature, pooler, projection) at its start, as when an option of
 * the source was turned on since. What it lacks of the head stays missing, and is refused.
 */
function withStarts({ states }: Graph, { parameters }: Head, saved: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>> {
  const ofHead = new Set([...parameters.keys()].flatMap((name) => [name, `${optimizerPrefix}m/${name}`, `${optimizerPrefix}v/${name}`]))
  ofHead.add(`${optimizerPrefix}steps`)
  const starts = [...states].filter(([name]) => saved[name] === undefined && !ofHead.has(name))
  return { ...Object.fromEntries(starts.map(([name, { initial }]) => [name, initial])), ...saved }
}

function sessionKey(source: string, { hardNegatives, maskInBatch, tau, losses = {} }: StepVariant): string {
  return JSON.stringify([source, hardNegatives, maskInBatch, tau ?? null, losses])
}
