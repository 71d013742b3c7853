/**
 * Sequence-to-item samples: one per positive interaction, on arrival.
 * Invariant: a sample holds nothing from after its target's event time, and never its target in its history
 * (leak rules of SAIL-Embedding, sequence-to-item distillation).
 */
import { hash } from 'node:crypto'
import { limits } from '../schemas/index.ts'
import type { DistillSample, Interaction } from '../schemas/index.ts'
import { behaviorMark } from './behavior-marks.ts'
import type { MarkOptions } from './behavior-marks.ts'
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
  /**
   * Marks each item of a history with what the filters ask of its behaviors; a history then starts that many liked items
   * back, for the filters to choose from. Higher: longer rows in the log.
   * @default undefined: no marks, and `historyLength` items
   */
  readonly marks?: MarkOptions & { readonly candidates: number }
}

export const sampleDefaults: Readonly<Required<Omit<SampleOptions, 'positiveBehaviors' | 'marks'>>> = {
  historyLength: 10,
  sequenceEvents: limits.history,
  source: 'seq2item',
  emptyHistories: false,
}

/** What samples are made of. */
export type SampleInput = Pick<Interaction, 'userId' | 'itemId' | 'eventTs' | 'behaviors'>

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
export function arrive(sequence: UserSequence, interaction: SampleInput, options: SampleOptions): Arrival {
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
  if (options.marks !== undefined) {
    const marked = markedHistory(sequence, insertion.index, options.positiveBehaviors, options.marks)
    if (marked.history.length === 0 && !emptyHistories) return { insertion, sample: undefined }
    return { insertion, sample: { kind: 'sample', source, userId, targetId: itemId, eventTs, ...marked } }
  }
  const history = sequence.itemsBefore(insertion.index, historyLength, itemId, isPositive)
  if (history.length === 0 && !emptyHistories) return { insertion, sample: undefined }
  // Spelled out, and the list copied to its size: a spread and a grown list took a third of a sample's bytes more.
  return { insertion, sample: { kind: 'sample', source, userId, targetId: itemId, eventTs, history: history.slice() } }
}

/**
 * The newest distinct liked items before the event at `index`, oldest first, each with its mark. The kinds of an item are those
 * of all its exposures before the event; the target's are those up to and with it.
 */
function markedHistory(
  sequence: UserSequence,
  index: number,
  positive: ReadonlySet<string>,
  { candidates, ...options }: MarkOptions & { readonly candidates: number },
): Required<Pick<DistillSample, 'history' | 'marks'>> {
  const kindsOf = (behaviors: readonly string[]): Set<string> => new Set(behaviors.filter((kind) => positive.has(kind)))
  const { itemId, behaviors } = sequence.events[index]!
  const united = sequence.behaviorsBefore(index)
  const targetKinds = kindsOf([...behaviors, ...(united.get(itemId) ?? [])])
  united.delete(itemId)
  /** Marks by list of behaviors, -1 for none that is positive: most items share theirs. */
  const marks = new Map<readonly string[], number>()
  const newestFirst: { readonly itemId: string; readonly mark: number }[] = []
  for (const [id, done] of united) {
    if (newestFirst.length === candidates) break
    let mark = marks.get(done)
    if (mark === undefined) {
      const kinds = kindsOf(done)
      marks.set(done, (mark = kinds.size === 0 ? -1 : behaviorMark(kinds, targetKinds, options)))
    }
    if (mark >= 0) newestFirst.push({ itemId: id, mark })
  }
  const chosen = newestFirst.reverse()
  return { history: chosen.map((item) => item.itemId), marks: Uint8Array.from(chosen, (item) => item.mark) }
}

/** The sample with the items of its history that pass, and their marks. The same object when all do. */
export function keepHistory<Row extends Pick<DistillSample, 'history' | 'marks'>>(row: Row, keeps: (itemId: string) => boolean): Row {
  const places = row.history.flatMap((itemId, i) => (keeps(itemId) ? [i] : []))
  if (places.length === row.history.length) return row
  const history = places.map((i) => row.history[i] ?? '')
  const { marks } = row
  return marks === undefined ? { ...row, history } : { ...row, history, marks: Uint8Array.from(places, (i) => marks[i] ?? 0) }
}

/** True when the same exposure stands in the history as liked already: it has had its sample. */
function positiveExposure(
  { events, start }: UserSequence,
  { itemId, eventTs }: SampleInput,
  isPositive: (behaviors: readonly string[]) => boolean,
): boolean {
  for (let i = events.length - 1; i >= start && events[i]!.eventTs >= eventTs; i--) {
    const event = events[i]!
    if (event.eventTs === eventTs && event.itemId === itemId) return isPositive(event.behaviors)
  }
  return false
}

type SampleNames = Pick<DistillSample, 'source' | 'userId' | 'targetId' | 'eventTs'>

/**
 * Stable name of a sample, a function of (source, user, target, event time): 128 bits of SHA-256 as hexadecimal text.
 * Records with the same key are the same sample; all but one fall.
 */
export function sampleKey(sample: SampleNames): string {
  return hash('sha256', sampleIdentity(sample), 'hex').slice(0, 32)
}

/** What a key is the hash of. */
export function sampleIdentity({ source, userId, targetId, eventTs }: SampleNames): string {
  return JSON.stringify([source, userId, targetId, eventTs])
}

/** Builds samples over a stream in memory, with the code of the streaming job: for files, demo and evaluation. */
export class SampleBuilder {
  readonly #options: SampleOptions
  readonly #users = new Map<string, UserSequence>()

  constructor(options: SampleOptions) {
    this.#options = options
  }

  /** Takes the next interaction in arrival order. */
  add(interaction: SampleInput): DistillSample | undefined {
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
