/**
 * The control log: what the owner decided, in the order it decided. It is the truth after a restart.
 * Invariant: a decision is in the log before anything is done about it, and doing it twice does no harm.
 */

import { z } from 'zod'
import { SidestreamError } from '../schemas/index.ts'
import type { Codec } from '../schemas/index.ts'
import type { LogProducer } from '../connectors/index.ts'
import type { Project } from './project.ts'

const position = z.object({ topic: z.string(), partition: z.number().int(), next: z.string() })

const bodies = {
  /** A round was closed: everything below these positions belongs to it or to an earlier one. */
  cut: z.object({ round: z.number().int(), endTs: z.number(), positions: z.array(position) }),
  /** A round was trained, or passed over because training diverged. */
  trained: z.object({
    round: z.number().int(),
    /** Rows trained on, those of earlier rounds among them. */
    rows: z.number().int(),
    replayed: z.number().int(),
    waiting: z.number().int(),
    dropped: z.number().int(),
    losses: z.array(z.number()),
    diverged: z.string().nullable(),
  }),
  /** An idle source is advanced: no event before `watermarkTs` is expected from it. */
  tick: z.object({ source: z.string(), watermarkTs: z.number() }),
  /** A command that waits for the owner. */
  command: z.object({ action: z.literal('refresh') }),
  /** A checkpoint was judged, for a refresh. */
  judged: z.object({ checkpoint: z.string(), task: z.string(), verdict: z.enum(['passed', 'refused']), report: z.unknown() }),
  /** A version number is taken and its build decided; every later step is redone from this record. */
  build: z.object({
    version: z.number().int().positive(),
    reason: z.enum(['bootstrap', 'scheduled', 'command']),
    parent: z.number().int().positive().nullable(),
    head: z.string(),
    cutTs: z.number(),
    positions: z.array(position),
  }),
  /** A task ended: with a live version, or refused with the reason. */
  done: z.object({
    outcome: z.enum(['live', 'refused', 'nothing-new']),
    version: z.number().int().positive().nullable(),
    code: z.string().nullable(),
    message: z.string(),
  }),
} as const

export type ControlKind = keyof typeof bodies
export type ControlBody<K extends ControlKind> = z.infer<(typeof bodies)[K]>

export interface ControlEntry<K extends ControlKind = ControlKind> {
  readonly kind: K
  readonly id: string
  readonly at: number
  readonly body: ControlBody<K>
}

/** Reads the whole control topic once, then appends and remembers. */
export class ControlLog {
  readonly #producer: LogProducer
  readonly #codec: Codec
  readonly #clock: () => number
  readonly #entries: ControlEntry[]

  private constructor(producer: LogProducer, codec: Codec, clock: () => number, entries: ControlEntry[]) {
    this.#producer = producer
    this.#codec = codec
    this.#clock = clock
    this.#entries = entries
  }

  static async open({ log, codec, clock }: Pick<Project, 'log' | 'codec' | 'clock'>): Promise<ControlLog> {
    const entries: ControlEntry[] = []
    await log.read('control', (batch) => {
      for (const record of batch.records) if (record.value !== null) entries.push(decodeEntry(codec, record.value))
    })
    return new ControlLog(await log.producer(), codec, clock, entries)
  }

  /** Durable when it resolves. */
  async append<K extends ControlKind>(kind: K, id: string, body: ControlBody<K>): Promise<void> {
    const entry = { kind, id, at: this.#clock(), body }
    const value = this.#codec.encode('control', { kind, id, at: entry.at, body: JSON.stringify(body) })
    await this.#producer.send('control', 0, [{ key: new TextEncoder().encode(id), value }])
    this.#entries.push(entry)
  }

  /** All entries of a kind, oldest first. */
  all<K extends ControlKind>(kind: K): readonly ControlEntry<K>[] {
    return this.#entries.filter((entry): entry is ControlEntry<K> => entry.kind === kind)
  }

  find<K extends ControlKind>(kind: K, id: string): ControlEntry<K> | undefined {
    return this.all(kind).find((entry) => entry.id === id)
  }

  async close(): Promise<void> {
    await this.#producer.close()
  }
}

function decodeEntry(codec: Codec, value: Uint8Array): ControlEntry {
  const record = codec.decode('control', value)
  const schema = bodies[record.kind as ControlKind]
  if (schema === undefined) {
    throw new SidestreamError(
      'SIDESTREAM_LOG_CORRUPT',
      `the control log holds a record of unknown kind "${record.kind}": it was written by a newer sidestream; upgrade this one`,
      {
        kind: record.kind,
      },
    )
  }
  const body = schema.safeParse(JSON.parse(record.body))
  if (!body.success) {
    throw new SidestreamError(
      'SIDESTREAM_LOG_CORRUPT',
      `the control record ${record.kind} ${record.id} is malformed: ${body.error.message}`,
      { cause: body.error },
    )
  }
  return { kind: record.kind as ControlKind, id: record.id, at: record.at, body: body.data as ControlBody<ControlKind> }
}
