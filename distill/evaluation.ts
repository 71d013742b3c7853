/**
 * Next-item evaluation in strict time order: which events are scored, against which negatives.
 * Invariant: an event sees only what happened before it; the plan holds no vectors, so several vector sets are scored on
 * the very same events and their differences can be paired. The protocol of examples/globo-news in general form.
 */
import { shuffle } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'

/** Interactions of all users in time order; users and items by number. */
export interface EvaluationStream {
  /** Ascending event times, shape [n]. */
  readonly times: Float64Array
  /** User number of each interaction, from 0, shape [n]; -1 = of nobody: it makes its item warm and popular, and is no event. */
  readonly users: Int32Array
  /** Item number of each interaction, shape [n]; -1 = an item without a vector, which is passed over. */
  readonly items: Int32Array
}

export interface EvaluationOptions {
  /** Interactions in [from, until) are candidates for scoring; earlier ones are history only. */
  readonly from: number
  readonly until: number
  /** An item without interaction before this time is cold. @default from */
  readonly coldBefore?: number
  /** Most distinct items in a user's history. @default 10 */
  readonly historyLength?: number
  /** How many of the user's newest distinct items `keep` chooses from. @default historyLength */
  readonly reach?: number
  /**
   * Which of them make the history: the newest; some drawn at random (SAIL's Vanilla set, with reach 100); or the newest of
   * the target's label (SAIL's Filtered set, with reach 1000), where an event without any is no event.
   * @default 'newest'
   */
  readonly keep?: 'newest' | 'random' | 'same-label'
  /** Tag or cluster of each item, shape [items]; -1 = none, which no item shares. Needed for `same-label`. */
  readonly labels?: Int32Array
  /** Of the random draw. @default 1 */
  readonly seed?: number
  /** Every nth event is scored. Higher: faster, wider intervals. @default 1 */
  readonly every?: number
  /** Which of every n. @default 0 */
  readonly offset?: number
  /** At most so many events: `every` is raised until they fit. @default no bound */
  readonly maxEvents?: number
  /** Span of the interactions that weight the popularity negatives. @default 3600000 */
  readonly popularityMs?: number
  /** The span ends at the last full step before the event. @default 300000 */
  readonly popularityStepMs?: number
}

export const evaluationDefaults = {
  historyLength: 10,
  keep: 'newest',
  seed: 1,
  every: 1,
  offset: 0,
  maxEvents: Infinity,
  popularityMs: 3_600_000,
  popularityStepMs: 300_000,
} as const satisfies Omit<EvaluationOptions, 'from' | 'until'>

/** Events to score. Items are stood in order of `since`, so that the live ones are always a prefix. */
export interface EvaluationPlan {
  readonly items: number
  readonly historyLength: number
  /** `order[place]` = item number, ascending `since`; shape [items]. */
  readonly order: Int32Array
  /** Number of scored events. */
  readonly events: number
  /** Candidates in the window, before `every`. */
  readonly candidates: number
  readonly times: Float64Array
  readonly users: Int32Array
  /** Place of each event's target, shape [events]. */
  readonly targets: Int32Array
  /** Places of each event's history, newest first, -1 behind the last; shape [events, historyLength]. */
  readonly histories: Int32Array
  /** How many items are live at each event. */
  readonly live: Int32Array
  /** 1 = the target is cold. */
  readonly cold: Uint8Array
  /** Popularity table of each event, an index into `popularity`. */
  readonly tables: Int32Array
  /** Places with interactions in one span, and how many. */
  readonly popularity: readonly { readonly places: Int32Array; readonly counts: Float64Array }[]
}

/**
 * Chooses the events. An event is an interaction inside the window whose user has a history, whose item is not within its
 * reach, and whose item is live. History = the user's newest distinct items before it, or some of them (`keep`).
 * @param since - when each item came to life, shape [items]; Infinity = never
 */
export function planEvaluation(stream: EvaluationStream, since: Float64Array, options: EvaluationOptions): EvaluationPlan {
  const { historyLength, every, offset, maxEvents, popularityMs, popularityStepMs } = { ...evaluationDefaults, ...options }
  const order = Int32Array.from(since.keys()).sort((a, b) => compareNumbers(since[a]!, since[b]!) || a - b)
  const places = new Int32Array(order.length)
  order.forEach((item, place) => (places[item] = place))
  const warm = itemsBefore(stream, since.length, options.coldBefore ?? options.from)

  const candidates = findCandidates(stream, since, options)
  const step = Math.max(every, Math.ceil(candidates.length / maxEvents))
  const scored = candidates.filter((_, i) => i % step === offset % step)

  const events = scored.length
  const plan = {
    items: order.length,
    historyLength,
    order,
    events,
    candidates: candidates.length,
    times: new Float64Array(events),
    users: new Int32Array(events),
    targets: new Int32Array(events),
    histories: new Int32Array(events * historyLength).fill(-1),
    live: new Int32Array(events),
    cold: new Uint8Array(events),
    tables: new Int32Array(events),
  }
  const popularity: { places: Int32Array; counts: Float64Array }[] = []
  const span = new PopularitySpan(stream, places)
  let live = 0
  let spanEnd = NaN
  scored.forEach(({ at, history }, e) => {
    const time = stream.times[at]!
    const target = stream.items[at]!
    while (live < order.length && since[order[live]!]! <= time) live++
    const end = Math.floor(time / popularityStepMs) * popularityStepMs
    if (end !== spanEnd) popularity.push(span.moveTo(end - popularityMs, end))
    spanEnd = end
    plan.times[e] = time
    plan.users[e] = stream.users[at]!
    plan.targets[e] = places[target]!
    for (let h = 0; h < history.length; h++) plan.histories[e * historyLength + h] = places[history[h]!]!
    plan.live[e] = live
    plan.cold[e] = warm[target] ? 0 : 1
    plan.tables[e] = popularity.length - 1
  })
  return { ...plan, popularity }
}

interface Candidate {
  readonly at: number
  /** Item numbers, newest first. */
  readonly history: readonly number[]
}

function findCandidates({ times, users, items }: EvaluationStream, since: Float64Array, options: EvaluationOptions): Candidate[] {
  const { from, until } = options
  const choose = historyChoice(options)
  const reach = Math.max(options.reach ?? 0, options.historyLength ?? evaluationDefaults.historyLength)
  const histories = new Map<number, number[]>()
  const candidates: Candidate[] = []
  for (let i = 0; i < times.length && times[i]! < until; i++) {
    const item = items[i]!
    if (item < 0 || users[i]! < 0) continue
    let recent = histories.get(users[i]!)
    if (!recent) histories.set(users[i]!, (recent = []))
    const known = recent.indexOf(item)
    if (times[i]! >= from && known < 0 && since[item]! <= times[i]!) {
      const history = choose(recent, item, i)
      if (history.length > 0) candidates.push({ at: i, history })
    }
    if (known >= 0) recent.splice(known, 1)
    recent.unshift(item)
    if (recent.length > reach) recent.pop()
  }
  return candidates
}

/** What `keep` takes of recent items, newest first; `at` numbers the draw. */
function historyChoice(options: EvaluationOptions): (recent: readonly number[], target: number, at: number) => readonly number[] {
  const { historyLength, keep, seed, labels } = { ...evaluationDefaults, ...options }
  if (keep === 'newest') return (recent) => recent.slice(0, historyLength)
  if (keep === 'random') {
    return (recent, _, at) => {
      const drawn = shuffle([...recent.keys()], seed, at).slice(0, historyLength)
      return drawn.sort((a, b) => a - b).map((i) => recent[i]!)
    }
  }
  if (labels === undefined) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'histories of the same label need `labels`, one number per item')
  }
  return (recent, target) => recent.filter((item) => labels[item]! >= 0 && labels[item] === labels[target]).slice(0, historyLength)
}

/** 1 for every item with an interaction before `time`. */
function itemsBefore({ times, items }: EvaluationStream, count: number, time: number): Uint8Array {
  const seen = new Uint8Array(count)
  for (let i = 0; i < times.length && times[i]! < time; i++) if (items[i]! >= 0) seen[items[i]!] = 1
  return seen
}

/** Counts of interactions per item in a span that only moves forward. */
class PopularitySpan {
  readonly #stream: EvaluationStream
  readonly #places: Int32Array
  readonly #counts: Float64Array
  #from = 0
  #until = 0

  constructor(stream: EvaluationStream, places: Int32Array) {
    this.#stream = stream
    this.#places = places
    this.#counts = new Float64Array(places.length)
  }

  moveTo(from: number, until: number): { places: Int32Array; counts: Float64Array } {
    const { times, items } = this.#stream
    for (; this.#until < times.length && times[this.#until]! < until; this.#until++) this.#add(items[this.#until]!, 1)
    for (; this.#from < this.#until && times[this.#from]! < from; this.#from++) this.#add(items[this.#from]!, -1)
    const places: number[] = []
    this.#counts.forEach((count, place) => count > 0 && places.push(place))
    return { places: Int32Array.from(places), counts: Float64Array.from(places, (place) => this.#counts[place]!) }
  }

  #add(item: number, by: number): void {
    if (item >= 0) this.#counts[this.#places[item]!]! += by
  }
}

function compareNumbers(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0
}
