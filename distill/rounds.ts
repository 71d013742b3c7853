/**
 * Event-time rounds: when training may run, decided by the data alone.
 * Invariant: nothing here reads a clock; the same inputs give the same rounds whatever the arrival speed, and a snapshot
 * goes on exactly where it was taken. Round k holds event times [k * roundMs, (k + 1) * roundMs).
 */
import { SidestreamError } from '../schemas/index.ts'

export interface RoundOptions {
  /** Event time covered by one round. Higher: fewer checkpoints, later refreshes. @default 3600000 */
  readonly roundMs?: number
  /** How far behind the newest event of its partition an event may be and still be on time. @default 300000 */
  readonly latenessMs?: number
  /** How far ahead of its log time an event may be before it is a dead letter. @default 300000 */
  readonly maxFutureMs?: number
}

export const roundDefaults: Readonly<Required<RoundOptions>> = { roundMs: 3_600_000, latenessMs: 300_000, maxFutureMs: 300_000 }

/**
 * Refuses an event from the future: one wrong clock would otherwise close every round before it.
 * @param appendTs - log time of the record; undefined for imported records, which bring their own clock
 * @throws SIDESTREAM_EVENT_IN_FUTURE (poison)
 */
export function checkEventTime(eventTs: number, appendTs: number | undefined, maxFutureMs: number = roundDefaults.maxFutureMs): void {
  if (appendTs === undefined || eventTs <= appendTs + maxFutureMs) return
  throw new SidestreamError(
    'SIDESTREAM_EVENT_IN_FUTURE',
    `event time ${eventTs} is ${eventTs - appendTs} ms ahead of its log time; at most ${maxFutureMs} ms are allowed, check the sender's clock`,
    { eventTs, appendTs, maxFutureMs },
  )
}

/** Watermark of one source partition, kept by the lane that reads it. Never goes back. */
export class LaneWatermark {
  readonly #latenessMs: number
  #value: number

  /** @param value - where an earlier lane of the partition had come to */
  constructor(latenessMs: number = roundDefaults.latenessMs, value = -Infinity) {
    this.#latenessMs = latenessMs
    this.#value = value
  }

  /** No event before this time is expected. -Infinity before the first event, Infinity after the end mark. */
  get value(): number {
    return this.#value
  }

  /** An event was seen, or, for an idle partition, a logged tick said that time has come to `eventTs`. */
  observe(eventTs: number): number {
    this.#value = Math.max(this.#value, eventTs - this.#latenessMs)
    return this.#value
  }

  /** The partition will bring nothing more. */
  end(): number {
    this.#value = Infinity
    return this.#value
  }
}

/** What moves the clock: a watermark of one source, or a logged tick that moves sources without events. */
export type ClockEvent =
  | { readonly kind: 'watermark'; readonly source: string; readonly watermarkTs: number }
  | { readonly kind: 'tick'; readonly sources: readonly string[]; readonly watermarkTs: number }

/** State of the clock as JSON: safe in a checkpoint manifest (infinities are text). */
export interface RoundSnapshot {
  readonly roundMs: number
  readonly watermarks: Readonly<Record<string, number | 'start' | 'end'>>
  /** Last round that is closed to new rows; null before the first. */
  readonly closed: number | null
  /** Rows that wait in open rounds, per round. */
  readonly rows: Readonly<Record<string, number>>
  readonly late: number
}

/**
 * Says which round may train. Sources are all streams a round depends on, named freely: every partition of
 * `interactions` as seen through every partition of `distill-samples`, and every partition of `item-content` and
 * `id-embeddings`. A round is complete when the least of all watermarks has passed its end. Rounds without rows are
 * passed over.
 */
export class RoundClock {
  readonly roundMs: number
  readonly #watermarks: Map<string, number>
  readonly #rows = new Map<number, number>()
  #closed = -Infinity
  #late = 0

  constructor(sources: readonly string[], roundMs: number = roundDefaults.roundMs) {
    this.roundMs = roundMs
    this.#watermarks = new Map(sources.map((source) => [source, -Infinity]))
  }

  /** @param sources - those to wait for from now on: others are forgotten, new ones have said nothing yet. @default the same */
  static restore(snapshot: RoundSnapshot, sources: readonly string[] = Object.keys(snapshot.watermarks)): RoundClock {
    const clock = new RoundClock(sources, snapshot.roundMs)
    for (const [source, value] of Object.entries(snapshot.watermarks)) {
      if (!clock.#watermarks.has(source)) continue
      clock.#watermarks.set(source, value === 'end' ? Infinity : value === 'start' ? -Infinity : value)
    }
    for (const [round, rows] of Object.entries(snapshot.rows)) clock.#rows.set(Number(round), rows)
    clock.#closed = snapshot.closed ?? -Infinity
    clock.#late = snapshot.late
    return clock
  }

  snapshot(): RoundSnapshot {
    const watermarks: Record<string, number | 'start' | 'end'> = {}
    for (const [source, value] of this.#watermarks) watermarks[source] = value === Infinity ? 'end' : value === -Infinity ? 'start' : value
    const rows = Object.fromEntries([...this.#rows].map(([round, count]) => [String(round), count]))
    return { roundMs: this.roundMs, watermarks, closed: this.#closed === -Infinity ? null : this.#closed, rows, late: this.#late }
  }

  /** The least watermark over all sources; -Infinity while one has said nothing. */
  get watermark(): number {
    let least = Infinity
    for (const value of this.#watermarks.values()) if (value < least) least = value
    return this.#watermarks.size === 0 ? -Infinity : least
  }

  /** The furthest finite watermark of any source: where a silent one may be advanced to. -Infinity when there is none. */
  get furthest(): number {
    let most = -Infinity
    for (const value of this.#watermarks.values()) if (value !== Infinity && value > most) most = value
    return most
  }

  /** Rows that arrived after their round was closed. */
  get late(): number {
    return this.#late
  }

  /** Last round closed to new rows; -Infinity before the first. */
  get closed(): number {
    return this.#closed
  }

  /** Round of an event time. */
  roundOf(eventTs: number): number {
    return Math.floor(eventTs / this.roundMs)
  }

  /** First millisecond after a round. */
  endOf(round: number): number {
    return (round + 1) * this.roundMs
  }

  /** @throws SIDESTREAM_USAGE_INVALID for a source the clock was not told of: it could never be waited for */
  apply(event: ClockEvent): void {
    for (const source of event.kind === 'tick' ? event.sources : [event.source]) {
      const known = this.#watermarks.get(source)
      if (known === undefined) {
        throw new SidestreamError(
          'SIDESTREAM_USAGE_INVALID',
          `the round clock knows no source ${source}; name all sources when it is built`,
          {
            source,
          },
        )
      }
      if (event.watermarkTs > known) this.#watermarks.set(source, event.watermarkTs)
    }
  }

  /** Takes a row and says which round it belongs to: its own, or, when that is closed, the next open one (late). */
  join(eventTs: number): { readonly round: number; readonly late: boolean } {
    const own = this.roundOf(eventTs)
    const late = own <= this.#closed
    const round = late ? this.#closed + 1 : own
    if (late) this.#late++
    this.#rows.set(round, (this.#rows.get(round) ?? 0) + 1)
    return { round, late }
  }

  /** Takes a row that waits once more: it joins the round after the one just closed and is not late. */
  wait(round: number): void {
    this.#rows.set(round, (this.#rows.get(round) ?? 0) + 1)
  }

  /** Oldest round with rows whose end every source has passed; undefined when none may train yet. */
  ready(): number | undefined {
    let oldest = Infinity
    for (const round of this.#rows.keys()) if (round < oldest) oldest = round
    return this.endOf(oldest) <= this.watermark && oldest !== Infinity ? oldest : undefined
  }

  /** Closes a round (and all before it): rows for them that come from now on are late. */
  close(round: number): void {
    this.#closed = Math.max(this.#closed, round)
    for (const open of this.#rows.keys()) if (open <= round) this.#rows.delete(open)
  }
}
