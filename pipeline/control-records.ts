/**
 * The records of the `control` topic: what is decided, asked and answered, and in which order that counts.
 * Invariants: log order is the truth; a decision counts only when it was written by whoever was the owner at that place of the
 * log, so a process that has lost control changes nothing any more; commands may be written by anyone.
 */

import { z } from 'zod'
import { isSidestreamError, SidestreamError } from '../schemas/index.ts'
import type { Codec, ControlRecord } from '../schemas/index.ts'
import type { LogRecord, ProducerRecord } from '../connectors/index.ts'
import { ownerHeader, ownerOf } from './record-headers.ts'

export const offsetText = z.string().regex(/^\d{1,19}$/)

const position = z.object({ topic: z.string(), partition: z.number().int(), next: z.string() })

/** One move of the live pointer, as the store tells it. */
const change = z.object({
  seq: z.number().int(),
  version: z.number().int(),
  epoch: z.number().int(),
  action: z.enum(['activate', 'rollback']),
  commandId: z.string(),
  at: z.number(),
})

/** Something the owner is asked to do. */
const knownCommand = z.discriminatedUnion('action', [
  z.object({ action: z.literal('refresh') }),
  z.object({ action: z.literal('activate'), version: z.number().int().positive() }),
  z.object({ action: z.literal('rollback') }),
  z.object({ action: z.literal('gc') }),
])
export type ControlCommand = z.infer<typeof knownCommand>

/** A command of a newer release, or a broken one: the owner says that it does not know it. */
const unknownCommand = z.object({ action: z.literal('unknown'), text: z.string() })

/** How a task or command ended: done, with the live version where it changed that, or refused with the reason. */
const done = z.object({
  outcome: z.enum(['live', 'refused', 'nothing-new', 'done']),
  version: z.number().int().positive().nullable(),
  code: z.string().nullable(),
  message: z.string(),
  /** What stood behind a refused build: the whole curve of a budget (`curve`), figures and thresholds of a gate. */
  details: z.record(z.string(), z.unknown()).optional(),
  /** The pointer's move, of `activate` and `rollback`. */
  change: change.optional(),
  /** Versions that are gone now, of `gc`. */
  collected: z.array(z.number().int()).optional(),
})

const bodies = {
  /** A process took control: from here on its decisions count, and nobody else's. The id is its own and drawn at random. */
  owner: z.object({ process: z.string() }),
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
    /** What the filters did, per sample set and rule; not in records of the first release. */
    sets: z.record(z.string(), z.record(z.string(), z.number())).optional(),
    /** What was found of each kind of ID embedding for the round's targets; not in records of the first release. */
    teachers: z.record(z.string(), z.record(z.string(), z.number())).optional(),
    /** Rows, steps and mean loss of every source that took a step; not in records of the first release. */
    sources: z.record(z.string(), z.record(z.string(), z.number())).optional(),
    /** lambda* each time negatives were mined, oldest first; not in records of the first release. */
    mined: z.array(z.object({ source: z.string(), lambda: z.number(), f1: z.number(), positives: z.number() })).optional(),
  }),
  /** An idle source is advanced: no event before `watermarkTs` is expected from it. */
  tick: z.object({ source: z.string(), watermarkTs: z.number() }),
  /** A command that waits for the owner. `waitMs`: how long its asker waits for an owner; without it for ever. */
  command: z.object({ command: z.union([knownCommand, unknownCommand]), waitMs: z.number().nullable() }),
  /** The owner has seen a command and will answer it, unless it was withdrawn before this. */
  taken: z.object({
    /** Offset of the command, as it was asked last; not in records of the first release. */
    asked: offsetText.optional(),
    /** The id stands for another command, which does this: what was asked is not done. */
    usedFor: z.string().optional(),
    /** The command was done before it was asked this time. */
    result: done.optional(),
  }),
  /** Whoever asked waits no more: a command that no owner has taken before this is not done. */
  withdrawn: z.object({}),
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
  done,
} as const

/** Newest entries that a checkpoint keeps, whatever they are. Higher: ids of commands are known for longer, starts read more. */
const keptEntries = 10_000

/** A body as it was parsed before; undefined when it is none. */
export function controlBody(kind: string, body: unknown): ControlBody<ControlKind> | undefined {
  const parsed = Object.hasOwn(bodies, kind) ? bodies[kind as ControlKind].safeParse(body) : undefined
  return parsed?.success === true ? (parsed.data as ControlBody<ControlKind>) : undefined
}

export type ControlKind = keyof typeof bodies
export type ControlBody<K extends ControlKind> = z.infer<(typeof bodies)[K]>

export interface ControlEntry<K extends ControlKind = ControlKind> {
  readonly kind: K
  readonly id: string
  /** When it was written, by the writer's clock. */
  readonly at: number
  readonly offset: bigint
  readonly body: ControlBody<K>
}

/** Kinds that anyone may write; all others are the owner's. */
const open: ReadonlySet<string> = new Set<ControlKind>(['owner', 'command', 'withdrawn'])

/** A record of the topic. `owner` is the claim of whoever decides; null for what anyone may write. */
export function encodeControl<K extends ControlKind>(
  codec: Codec,
  { kind, id, at, body }: Omit<ControlEntry<K>, 'offset'>,
  owner: string | null,
): ProducerRecord {
  // `action` stands at the top, where the first release had it.
  const plain = kind === 'command' ? plainCommand(body as ControlBody<'command'>) : body
  const value = codec.encode('control', { kind, id, at, body: JSON.stringify(plain) })
  return { key: new TextEncoder().encode(id), value, ...(owner !== null && { headers: [ownerHeader(owner)] }) }
}

/** Where a record stands, as `send` says. @throws SIDESTREAM_LOG_WRITE_FAILED when it does not */
export function writtenAt(offsets: ReadonlyMap<number, bigint>): bigint {
  const offset = offsets.get(0)
  if (offset === undefined) throw new SidestreamError('SIDESTREAM_LOG_WRITE_FAILED', 'the control log did not say where it wrote')
  return offset
}

/**
 * Refuses an id that names another command already.
 * @throws SIDESTREAM_USAGE_INVALID
 */
export function requireSameCommand(known: CommandState | undefined, command: ControlCommand): void {
  if (known === undefined || known.state === 'withdrawn' || isSameCommand(known.entry, command)) return
  throw usedFor(known.entry.id, known.entry.body.command.action)
}

export function isSameCommand({ body }: ControlEntry<'command'>, command: ControlBody<'command'>['command']): boolean {
  return JSON.stringify(body.command) === JSON.stringify(command)
}

/** The error for an id that stands for another command. */
export function usedFor(id: string, action: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', `the command id ${id} was used for ${action}: choose another`)
}

function plainCommand({ command, waitMs }: ControlBody<'command'>): object {
  return { ...command, ...(waitMs !== null && { waitMs }) }
}

/** Where a command stands. One that was withdrawn before an owner took it can be asked again. */
export interface CommandState {
  /** As it was asked last before an owner took it. */
  readonly entry: ControlEntry<'command'>
  readonly state: 'asked' | 'withdrawn' | 'taken' | 'done'
  /** Asked once more since it was taken, and not told yet what became of it. */
  readonly again?: ControlEntry<'command'>
}

/**
 * What the control topic says up to some place.
 *
 * A view that begins in the middle of the log does not know who decides there. It learns it from the next claim, or from whoever
 * takes a command that stands behind its beginning: a process takes a command when it has read the log up to it, so it was the
 * owner there, and every later claim is in the view.
 */
export class ControlView {
  readonly #codec: Codec
  readonly #since: bigint
  readonly #commands = new Map<string, CommandState>()
  readonly #byKind = new Map<ControlKind, ControlEntry[]>()
  readonly #first = new Map<string, ControlEntry>()
  #owner: ControlEntry<'owner'> | undefined
  /** The claim whose decisions count; undefined in a log of the first release, null while it is not known. */
  #claim: string | undefined | null

  /** @param since - first offset it will be given */
  constructor(codec: Codec, since = 0n) {
    this.#codec = codec
    this.#since = since
    this.#claim = since === 0n ? undefined : null
  }

  /** The last claim; undefined before the first. */
  get owner(): ControlEntry<'owner'> | undefined {
    return this.#owner
  }

  /** All entries of a kind, oldest first. */
  all<K extends ControlKind>(kind: K): readonly ControlEntry<K>[] {
    return (this.#byKind.get(kind) ?? []) as ControlEntry<K>[]
  }

  /** The first entry of a kind with this id. */
  find<K extends ControlKind>(kind: K, id: string): ControlEntry<K> | undefined {
    return this.#first.get(`${kind} ${id}`) as ControlEntry<K> | undefined
  }

  /** All commands, in the order in which they were first asked. */
  commands(): Iterable<CommandState> {
    return this.#commands.values()
  }

  command(id: string): CommandState | undefined {
    return this.#commands.get(id)
  }

  /**
   * Takes the next record of the topic.
   * @returns undefined for a record that does not count: a tombstone, a decision of a process that was not the owner, or a claim
   * that stands there already (its answer was lost, and it was sent again): what it was to end may have ended it
   * @throws SIDESTREAM_LOG_CORRUPT for an owner's record that is malformed or from a newer release; SIDESTREAM_RECORD_UNDECODABLE
   * and other poison for bytes that are no control record
   */
  apply({ value, headers, offset }: LogRecord): ControlEntry | undefined {
    if (value === null) return undefined
    const record = decoded(this.#codec, value)
    if (!open.has(record.kind) && !this.#decides(record, ownerOf(headers))) return undefined
    if (record.kind === 'owner' && this.find('owner', record.id) !== undefined) return undefined
    const entry = { kind: record.kind as ControlKind, id: record.id, at: record.at, offset, body: bodyOf(record) }
    this.#take(entry)
    return entry
  }

  /**
   * What another view needs to go on from here: all builds and judgements, commands that are not done, the last entry of each
   * kind, and the newest entries of any kind; with each entry all others of its id, so that nothing is half known. Ticks are in the
   * owner's state. Oldest first.
   */
  kept(newest = keptEntries): ControlEntry[] {
    const all = [...this.#byKind].flatMap(([kind, entries]) => (kind === 'tick' ? [] : entries))
    all.sort((a, b) => (a.offset < b.offset ? -1 : 1))
    const last = new Set([...this.#byKind.values()].map((entries) => entries.at(-1)))
    const isOpen = (state: CommandState | undefined): boolean => state !== undefined && state.state !== 'done'
    const ids = new Set<string>()
    for (const [i, entry] of all.entries()) {
      const isNew = i >= all.length - newest || last.has(entry)
      if (isNew || entry.kind === 'build' || entry.kind === 'judged' || isOpen(this.command(entry.id))) ids.add(entry.id)
    }
    return all.filter(({ id }) => ids.has(id))
  }

  /** Takes entries that another view has kept, before any record. */
  restore(entries: readonly ControlEntry[]): void {
    for (const entry of entries) this.#take(entry)
  }

  #take(entry: ControlEntry): void {
    if (entry.kind === 'owner') {
      this.#owner = entry as ControlEntry<'owner'>
      this.#claim = entry.id
    }
    const all = this.#byKind.get(entry.kind)
    if (all === undefined) this.#byKind.set(entry.kind, [entry])
    else all.push(entry)
    const key = `${entry.kind} ${entry.id}`
    if (!this.#first.has(key)) this.#first.set(key, entry)
    this.#followCommand(entry)
  }

  #decides(record: ControlRecord, claim: string | undefined): boolean {
    if (this.#claim === null && record.kind === 'taken' && claim !== undefined) {
      const { asked } = bodyOf(record) as ControlBody<'taken'>
      if (asked !== undefined && BigInt(asked) >= this.#since) this.#claim = claim
    }
    return claim === this.#claim
  }

  /** Of `withdrawn` and `taken` the first in the log counts. */
  #followCommand(entry: ControlEntry): void {
    const known = this.#commands.get(entry.id)
    const isOpen = known === undefined || known.state === 'asked' || known.state === 'withdrawn'
    if (entry.kind === 'command') {
      const asked = entry as ControlEntry<'command'>
      this.#commands.set(entry.id, isOpen ? { entry: asked, state: 'asked' } : { ...known, again: asked })
    } else if (known !== undefined) {
      if (entry.kind === 'done') this.#commands.set(entry.id, { ...known, state: 'done' })
      else if (entry.kind === 'withdrawn' || entry.kind === 'taken') {
        const { again, ...others } = known
        const isTold = again === undefined || entry.kind === 'withdrawn' || tellsOf(entry as ControlEntry<'taken'>, again)
        this.#commands.set(entry.id, {
          ...(isTold ? others : known),
          state: known.state === 'asked' ? entry.kind : known.state,
        })
      }
    }
  }
}

function tellsOf({ body: { asked } }: ControlEntry<'taken'>, { offset }: ControlEntry<'command'>): boolean {
  return asked !== undefined && BigInt(asked) >= offset
}

function decoded(codec: Codec, value: Uint8Array): ControlRecord {
  try {
    return codec.decode('control', value)
  } catch (cause) {
    if (!isSidestreamError(cause) || cause.code !== 'SIDESTREAM_RECORD_SCHEMA_UNKNOWN') throw cause
    throw newer(`a record of another schema (${cause.message})`, cause)
  }
}

function bodyOf(record: ControlRecord): ControlBody<ControlKind> {
  const schema = bodies[record.kind as ControlKind]
  if (schema === undefined) throw newer(`a record of unknown kind "${record.kind}"`)
  const json = parseJson(record.body)
  if (record.kind === 'command') return commandOf(json, record.body)
  const body = schema.safeParse(json)
  if (body.success) return body.data as ControlBody<ControlKind>
  throw new SidestreamError(
    'SIDESTREAM_LOG_CORRUPT',
    `the control record ${record.kind} ${record.id} is malformed: ${body.error.message}`,
    {
      cause: body.error,
    },
  )
}

const asker = z.object({ waitMs: z.number().min(0).optional() })

/** Whoever wrote it is answered, whatever it is. */
function commandOf(json: unknown, text: string): ControlBody<'command'> {
  const command = knownCommand.safeParse(json)
  const given = asker.safeParse(json)
  if (command.success && given.success) return { command: command.data, waitMs: given.data.waitMs ?? null }
  return { command: { action: 'unknown', text: text.slice(0, 200) }, waitMs: null }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function newer(what: string, cause?: unknown): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_LOG_CORRUPT',
    `the control log holds ${what}: it was written by a newer sidestream; upgrade this one`,
    { cause },
  )
}
