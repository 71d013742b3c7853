/**
 * Sequence-to-item samples: one per positive interaction, on arrival.
 * Invariant: a sample holds nothing from after its target's event time, and never its target in its history
 * (leak rules of SAIL-Embedding, sequence-to-item distillation).
 */
import { hash } from 'node:crypto'
import { limits } from '../schemas/index.ts'
import type { DistillSample, Interaction } from '../schemas/index.ts'
import { UserSequence } from './sequence.ts'
import type { Insertion } from './sequence.ts'

export interface SampleOptions {
  /** Kinds of act that count as liking. An exposure with none of them is kept in the history but never sampled. */
  readonly positiveBehaviors: ReadonlySet<string>
  /** Most items in a sample's history. Higher: longer memory, dearer steps. @default 10 */
  readonly historyLength?: number
  /** Most events kept per user. @default 1000 */
  readonly sequenceEvents?: number
  /** Name of the sample set. @default 'seq2item' */
  readonly source?: string
  /**
   * Whether a liked item without earlier liked ones gives a sample too, with an empty history: nothing to train on, but the
   * judge must know of it.
   * @default false
   */
  readonly emptyHistories?: boolean
}

export const sampleDefaults: Readonly<Required<Omit<SampleOptions, 'positiveBehaviors'>>> = {
  historyLength: 10,
  sequenceEvents: limits.history,
  source: 'seq2item',
  emptyHistories: false,
}

/** What one interaction did: its place in the history, and the sample it gave, if any. */
export interface Arrival {
  readonly insertion: Insertion
  readonly sample: DistillSample | undefined
}

/**
 * Puts one interaction into its user's history and makes its sample: target = the item, history = the newest distinct
 * liked items before it by (event time, arrival). No sample when the act is not positive, the history is empty, or the
 * exposure has already given one.
 */
export function arrive(sequence: UserSequence, interaction: Interaction, options: SampleOptions): Arrival {
  const {
    historyLength = sampleDefaults.historyLength,
    source = sampleDefaults.source,
    emptyHistories = sampleDefaults.emptyHistories,
  } = options
  const { userId, itemId, eventTs, behaviors } = interaction
  const isPositive = (kinds: readonly string[]): boolean => kinds.some((kind) => options.positiveBehaviors.has(kind))
  const positive = isPositive(behaviors)
  const before = positive ? positiveExposure(sequence, interaction, isPositive) : false
  const insertion = sequence.insert({ itemId, eventTs, behaviors })
  if (!positive || before || insertion.index < 0) return { insertion, sample: undefined }
  const history = sequence.itemsBefore(insertion.index, historyLength, itemId, isPositive)
  if (history.length === 0 && !emptyHistories) return { insertion, sample: undefined }
  return { insertion, sample: { kind: 'sample', source, userId, targetId: itemId, eventTs, history } }
}

/** True when the same exposure stands in the history as liked already: it has had its sample. */
function positiveExposure(
  { events, start }: UserSequence,
  { itemId, eventTs }: Interaction,
  isPositive: (behaviors: readonly string[]) => boolean,
): boolean {
  for (let i = events.length - 1; i >= start && events[i]!.eventTs >= eventTs; i--) {
    const event = events[i]!
    if (event.eventTs === eventTs && event.itemId === itemId) return isPositive(event.behaviors)
  }
  return false
}

/**
 * Stable name of a sample, a function of (source, user, target, event time): 128 bits of SHA-256 as hexadecimal text.
 * Records with the same key are the same sample; all but one fall.
 */
export function sampleKey({
  source,
  userId,
  targetId,
  eventTs,
}: Pick<DistillSample, 'source' | 'userId' | 'targetId' | 'eventTs'>): string {
  return hash('sha256', JSON.stringify([source, userId, targetId, eventTs]), 'hex').slice(0, 32)
}

/** Builds samples over a stream in memory, with the code of the streaming job: for files, demo and evaluation. */
export class SampleBuilder {
  readonly #options: SampleOptions
  readonly #users = new Map<string, UserSequence>()

  constructor(options: SampleOptions) {
    this.#options = options
  }

  /** Takes the next interaction in arrival order. */
  add(interaction: Interaction): DistillSample | undefined {
    let sequence = this.#users.get(interaction.userId)
    if (!sequence) {
      sequence = new UserSequence(this.#options.sequenceEvents ?? sampleDefaults.sequenceEvents)
      this.#users.set(interaction.userId, sequence)
    }
    return arrive(sequence, interaction, this.#options).sample
  }
}

/** Samples of an interaction stream, in its order. Holds the last events of every user in memory. */
export async function* samplesFromInteractions(
  interactions: AsyncIterable<Interaction> | Iterable<Interaction>,
  options: SampleOptions,
): AsyncGenerator<DistillSample> {
  const builder = new SampleBuilder(options)
  for await (const interaction of interactions) {
    const sample = builder.add(interaction)
    if (sample) yield sample
  }
}
