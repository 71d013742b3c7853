/**
 * What the owner hears: item-content, distill-samples and, when they are trained on, id-embeddings and item-pairs, into one state
 * with the round clock.
 * Invariants: dead letters are acknowledged before the state moves past their records; clock and watermarks change only
 * when the commit that explains them is done, so whoever finds a round complete finds all of it in the state; changes are
 * made one after the other; all lanes go on while the owner trains or builds.
 */

import { LaneWatermark, RoundClock } from '../distill/index.ts'
import { createItemContentBatch } from '../schemas/index.ts'
import type { Config, DecodeExpectations, DistillSample, ItemContentBatch } from '../schemas/index.ts'
import type { Lane, LogBatch, LogConsumer, LogProducer, State, StateCommit } from '../connectors/index.ts'
import { floatBytes, readFloat } from './bytes.ts'
import { modalitiesOf } from './catalogue.ts'
import { decodeContent } from './content-decode.ts'
import { entryPuts, Scratch } from './as-of-state.ts'
import type { Arrival } from './as-of-state.ts'
import { contentPrefix } from './content-state.ts'
import { asPoison, DeadLetters } from './dead-letters.ts'
import type { PoisonRecord } from './dead-letters.ts'
import { gapTeller } from './gaps.ts'
import { ownerTopics } from './owner-checks.ts'
import type { OwnerTopic } from './owner-checks.ts'
import { decodePairs, pairPrefix } from './pair-state.ts'
import { positionName } from './positions.ts'
import type { TopicPosition } from './positions.ts'
import type { Project } from './project.ts'
import { isEndMark, isMark, tombstoneId } from './record-headers.ts'
import { prepareSchemas } from './schemas-ahead.ts'
import { clockPut, loadClock, samplePuts } from './samples-state.ts'
import { TeacherDecoder } from './teacher-decode.ts'
import { teacherPrefix } from './teacher-state.ts'

/** Most records of one handler run. Higher: fewer commits under load, later progress. */
const batchRecords = 4096
const watermarkKey = (source: string): string => `watermark/${source}`
const heardKey = (source: string): string => `heard/${source}`

/** What a batch of a compacted topic holds, once it is decoded. */
interface KeyedBatch {
  /** Of the state keys. */
  readonly prefix: string
  readonly arrivals: readonly Arrival[]
  readonly poison: readonly PoisonRecord[]
  /** Further state entries, as of the commit. */
  readonly puts: () => readonly (readonly [key: string, value: Uint8Array])[]
}

const groupOf = (config: Config): string => `${config.project}-owner`

export class OwnerLanes {
  readonly state: State
  readonly counts = {
    contents: 0,
    deletes: 0,
    /** ID embeddings of kinds that teach, tombstones among them, and records of other kinds. */
    idEmbeddings: 0,
    otherIdEmbeddings: 0,
    /** Item pairs of sources that are trained on, and of others. */
    pairs: 0,
    otherPairs: 0,
    poison: 0,
    samples: 0,
    missed: 0,
  }
  /** Content records before this time may be thinned out: every decision up to it is made. */
  closedTs = -Infinity
  readonly #project: Project
  readonly #producer: LogProducer
  readonly #deadLetters: DeadLetters
  readonly #onChange: () => void
  readonly #watermarks = new Map<string, LaneWatermark>()
  /** Wall clock of the last record per source, to tell idle partitions. */
  readonly #heardAt = new Map<string, number>()
  /** Per lane: below it, dead letters were written already, maybe by an owner before this one. */
  readonly #doneUntil = new Map<string, bigint>()
  #clock: RoundClock
  #changing: Promise<unknown> = Promise.resolve()
  /** Rows of the batch that is being decoded, in one turn of the event loop. */
  readonly #content: ItemContentBatch
  readonly #expectations: DecodeExpectations
  readonly #scratch = new Scratch()
  readonly #teachers: TeacherDecoder
  /** Newest event time seen in item-content. */
  #newestContentTs = -Infinity
  #consumer: LogConsumer | undefined

  private constructor(project: Project, state: State, clock: RoundClock, producer: LogProducer, onChange: () => void) {
    this.#project = project
    this.state = state
    this.#clock = clock
    this.#producer = producer
    this.#deadLetters = new DeadLetters(producer, project)
    this.#onChange = onChange
    this.#content = createItemContentBatch(batchRecords, modalitiesOf(project))
    this.#teachers = new TeacherDecoder(project, state)
    this.#expectations = { modalities: new Map(modalitiesOf(project).map(({ name, dim }) => [name, dim])) }
  }

  static async start(project: Project, onChange: () => void, onFatal: (error: Error) => void): Promise<OwnerLanes> {
    const state = await project.openState('owner')
    const [sources, producer] = await Promise.all([sourcesOf(project), project.log.producer()])
    const clock = loadClock(state, sources, project.config.training.roundMs)
    const lanes = new OwnerLanes(project, state, clock, producer, onChange)
    for (const source of sources) {
      const stored = state.get(watermarkKey(source))
      lanes.#watermarks.set(
        source,
        new LaneWatermark(project.config.training.latenessMs, stored === undefined ? -Infinity : readFloat(stored)),
      )
      const heard = state.get(heardKey(source))
      if (heard !== undefined) lanes.#newestContentTs = Math.max(lanes.#newestContentTs, readFloat(heard))
      lanes.#heardAt.set(source, project.clock())
    }
    const consumer = await project.log.consumer({
      group: groupOf(project.config),
      topics: ownerTopics(project.config),
      start: 'earliest',
      batchRecords,
      commits: 'handler',
    })
    lanes.#consumer = consumer
    await consumer.run({
      // An owner without state builds it from the oldest record there is; what its group has committed says nothing of it.
      onAssigned: (lane) => lanes.#assigned(lane),
      onBatch: (batch, lane) => lanes.#batch(batch, lane),
      onGap: gapTeller(project, 'distill', (missed) => (lanes.counts.missed += missed)),
      onFatal,
    })
    return lanes
  }

  /** The rounds as of the last commit. Not to be changed outside of `change`. */
  get clock(): RoundClock {
    return this.#clock
  }

  /** Changes clock and state in one commit. `make` reads a state that holds all changes before it. */
  change(make: (clock: RoundClock) => StateCommit): Promise<void> {
    const run = async (): Promise<void> => {
      const clock = RoundClock.restore(this.#clock.snapshot())
      const { puts = [], ...others } = make(clock)
      await this.state.commit({ ...others, puts: [...puts, clockPut(clock)] })
      this.#clock = clock
    }
    const changed = this.#changing.then(run, run)
    this.#changing = changed.catch(() => {})
    return changed
  }

  /** True when no more content will come, in any partition. */
  get contentEnded(): boolean {
    return this.#contentSources().every((source) => this.#watermarks.get(source)!.value === Infinity)
  }

  /** No content before this time is missing. */
  get contentWatermark(): number {
    return Math.min(...this.#contentSources().map((source) => this.#watermarks.get(source)!.value))
  }

  /** Newest event time of any content seen. */
  get newestContentTs(): number {
    return this.#newestContentTs
  }

  /** Positions of what has been taken in, for a cut. */
  async positions(topic: OwnerTopic): Promise<TopicPosition[]> {
    const { partitions } = await (await this.#project.log.admin()).describe(topic)
    return Array.from({ length: partitions }, (_, partition) => ({
      topic,
      partition,
      next: String(this.state.position(positionName(topic, partition)) ?? 0n),
    }))
  }

  lag(): Promise<Map<string, bigint>> {
    return this.#consumer!.lag()
  }

  /** Sources from which nothing was heard for `idleMs` and whose watermark is behind. */
  idleSources(idleMs: number, watermarkTs: number): string[] {
    const now = this.#project.clock()
    return [...this.#heardAt].flatMap(([source, at]) => {
      const known = this.#watermarks.get(source)!.value
      return now - at >= idleMs && known < watermarkTs ? [source] : []
    })
  }

  /** Takes a logged tick: the sources have nothing before `watermarkTs`. */
  async tick(sources: readonly string[], watermarkTs: number): Promise<void> {
    await this.change((clock) => {
      clock.apply({ kind: 'tick', sources, watermarkTs })
      return {
        puts: sources.map(
          (source) => [watermarkKey(source), floatBytes(Math.max(watermarkTs, this.#watermarks.get(source)!.value))] as const,
        ),
      }
    })
    for (const source of sources) this.#watermarks.get(source)!.observe(watermarkTs + this.#project.config.training.latenessMs)
    this.#onChange()
  }

  async stop(): Promise<void> {
    await this.#consumer?.stop({ drainMs: 5000 })
    await this.#producer.close()
    await this.state.close()
  }

  async #assigned(lane: Lane): Promise<bigint> {
    const { config, log } = this.#project
    const name = positionName(lane.topic, lane.partition)
    this.#doneUntil.set(name, (await (await log.admin()).committed(groupOf(config), lane.topic))[lane.partition] ?? 0n)
    return this.state.position(name) ?? 0n
  }

  /** A state that is made anew leaves the hint where its group has come to. */
  async #commit(lane: Lane, next: bigint): Promise<void> {
    if (next >= (this.#doneUntil.get(positionName(lane.topic, lane.partition)) ?? 0n)) await lane.commit(next)
  }

  /** Writes the dead letters of a lane that nobody has written before. */
  async #setAside(lane: Lane, poison: readonly PoisonRecord[]): Promise<void> {
    const doneUntil = this.#doneUntil.get(positionName(lane.topic, lane.partition)) ?? 0n
    await this.#deadLetters.send(poison.filter(({ record }) => record.offset >= doneUntil))
  }

  #contentSources(): string[] {
    return [...this.#watermarks.keys()].filter((source) => source.startsWith('item-content/'))
  }

  async #batch(batch: LogBatch, lane: Lane): Promise<void> {
    if (batch.topic === 'distill-samples') return this.#sampleBatch(batch, lane)
    await prepareSchemas(this.#project, batch, lane)
    if (batch.topic === 'item-content') return this.#contentBatch(batch, lane)
    return batch.topic === 'item-pairs' ? this.#pairBatch(batch, lane) : this.#teacherBatch(batch, lane)
  }

  async #contentBatch(batch: LogBatch, lane: Lane): Promise<void> {
    const records = batch.records.filter((record) => !isMark(record))
    const { arrivals, poison } = this.#decodeContent(batch, records)
    const newest = arrivals.reduce((most, { entry }) => Math.max(most, entry.eventTs), this.#newestContentTs)
    const heard: [string, Uint8Array] = [heardKey(positionName(batch.topic, batch.partition)), floatBytes(newest)]
    await this.#keyedBatch(batch, lane, { prefix: contentPrefix, arrivals, poison, puts: () => [heard] })
    this.#newestContentTs = Math.max(this.#newestContentTs, newest)
    this.#onChange()
  }

  async #teacherBatch(batch: LogBatch, lane: Lane): Promise<void> {
    const { arrivals, poison, puts, passed } = this.#teachers.decode(batch)
    await this.#keyedBatch(batch, lane, { prefix: teacherPrefix, arrivals, poison, puts })
    this.counts.idEmbeddings += arrivals.length
    this.counts.otherIdEmbeddings += passed
    this.#onChange()
  }

  async #pairBatch(batch: LogBatch, lane: Lane): Promise<void> {
    const { arrivals, poison, passed } = decodePairs(this.#project, batch)
    await this.#keyedBatch(batch, lane, { prefix: pairPrefix, arrivals, poison, puts: () => [] })
    this.counts.pairs += arrivals.length
    this.counts.otherPairs += passed
    this.#onChange()
  }

  /** Dead letters, then one commit of entries, watermark and position. */
  async #keyedBatch(batch: LogBatch, lane: Lane, { prefix, arrivals, poison, puts }: KeyedBatch): Promise<void> {
    const source = positionName(batch.topic, batch.partition)
    await this.#setAside(lane, poison)
    let watermark: LaneWatermark | undefined
    await this.change((clock) => {
      watermark = new LaneWatermark(this.#project.config.training.latenessMs, this.#watermarks.get(source)!.value)
      for (const { entry } of arrivals) watermark.observe(entry.eventTs)
      if (batch.records.some(isEndMark)) watermark.end()
      clock.apply({ kind: 'watermark', source, watermarkTs: watermark.value })
      return {
        puts: [
          ...entryPuts(this.state, prefix, arrivals, this.closedTs, this.#scratch),
          [watermarkKey(source), floatBytes(watermark.value)],
          ...puts(),
        ],
        positions: [[source, batch.next]],
      }
    })
    this.#watermarks.set(source, watermark!)
    await this.#commit(lane, batch.next)
    this.#heardAt.set(source, this.#project.clock())
    this.counts.poison += poison.length
  }

  #decodeContent(batch: LogBatch, records: LogBatch['records']): { arrivals: Arrival[]; poison: PoisonRecord[] } {
    const out = this.#content
    const { codec } = this.#project
    decodeContent(this.#project, records, out)
    const arrivals: Arrival[] = []
    const poison: PoisonRecord[] = []
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!
      const error = out.errors.get(i)
      if (error !== undefined) {
        poison.push({ topic: 'item-content', partition: batch.partition, record, error })
      } else if (record.value === null) {
        try {
          arrivals.push({
            id: tombstoneId(record, this.#project.codec),
            entry: { offset: record.offset, eventTs: record.timestamp, value: undefined },
          })
          this.counts.deletes++
        } catch (thrown) {
          poison.push({ topic: 'item-content', partition: batch.partition, record, error: asPoison(thrown) })
        }
      } else {
        this.counts.contents++
        const value = codec.toOwn('item-content', record.value, this.#expectations) // the state is read without a registry
        arrivals.push({ id: out.ids[i]!, entry: { offset: record.offset, eventTs: out.eventTs[i]!, value } })
      }
    }
    return { arrivals, poison }
  }

  async #sampleBatch(batch: LogBatch, lane: Lane): Promise<void> {
    const { codec, clock: now } = this.#project
    const samples: DistillSample[] = []
    const marks = new Map<string, number>()
    const poison: PoisonRecord[] = []
    for (const record of batch.records) {
      try {
        const row = codec.decode('distill-samples', record.value ?? new Uint8Array())
        if (row.kind === 'sample') samples.push(row)
        else marks.set(`${row.topic}/${row.partition}@${batch.partition}`, row.watermarkTs)
      } catch (error) {
        poison.push({ topic: batch.topic, partition: batch.partition, record, error: asPoison(error) })
      }
    }
    await this.#setAside(lane, poison)
    await this.change((clock) => {
      const puts = [...samplePuts(this.state, clock, codec, samples)]
      for (const [source, watermarkTs] of marks) {
        clock.apply({ kind: 'watermark', source, watermarkTs })
        puts.push([watermarkKey(source), floatBytes(watermarkTs)])
      }
      return { puts, positions: [[positionName('distill-samples', batch.partition), batch.next]] }
    })
    for (const [source, watermarkTs] of marks) {
      this.#watermarks.set(source, new LaneWatermark(0, watermarkTs))
      this.#heardAt.set(source, now())
    }
    await this.#commit(lane, batch.next)
    this.counts.samples += samples.length
    this.#onChange()
  }
}

/** All sources a round waits for: every ingest lane through every sample partition, and every partition of a compacted topic. */
async function sourcesOf({ log, config }: Project): Promise<string[]> {
  const admin = await log.admin()
  const partitionsOf = async (topic: string): Promise<number> => (await admin.describe(topic)).partitions
  const [interactions, samples] = [await partitionsOf('interactions'), await partitionsOf('distill-samples')]
  const sources: string[] = []
  for (let p = 0; p < interactions; p++) {
    for (let q = 0; q < samples; q++) sources.push(`${positionName('interactions', p)}@${q}`)
  }
  for (const topic of ownerTopics(config)) {
    if (topic === 'distill-samples') continue
    const partitions = await partitionsOf(topic)
    for (let p = 0; p < partitions; p++) sources.push(positionName(topic, p))
  }
  return sources
}
