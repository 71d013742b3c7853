/**
 * What the owner hears: item-content and distill-samples, into one state with the round clock.
 * Invariants: dead letters are acknowledged before the state moves past their records; clock and watermarks change only
 * when the commit that explains them is done, so whoever finds a round complete finds all of it in the state; changes are
 * made one after the other; both lanes go on while the owner trains or builds.
 */

import { LaneWatermark, RoundClock } from '../distill/index.ts'
import { createItemContentBatch } from '../schemas/index.ts'
import type { Config, DecodeExpectations, DistillSample, ItemContentBatch } from '../schemas/index.ts'
import type { Lane, LogBatch, LogConsumer, LogProducer, State, StateCommit } from '../connectors/index.ts'
import { floatBytes, readFloat } from './bytes.ts'
import { modalitiesOf } from './catalogue.ts'
import { decodeContent } from './content-decode.ts'
import { contentPuts, Scratch } from './content-state.ts'
import type { ContentArrival } from './content-state.ts'
import { asPoison, DeadLetters } from './dead-letters.ts'
import type { PoisonRecord } from './dead-letters.ts'
import { gapTeller } from './gaps.ts'
import { positionName } from './positions.ts'
import type { TopicPosition } from './positions.ts'
import type { Project } from './project.ts'
import { isEndMark, isMark, tombstoneId } from './record-headers.ts'
import { prepareSchemas } from './schemas-ahead.ts'
import { clockPut, loadClock, samplePuts } from './samples-state.ts'

/** Most records of one handler run. Higher: fewer commits under load, later progress. */
const batchRecords = 4096
const watermarkKey = (source: string): string => `watermark/${source}`
const heardKey = (source: string): string => `heard/${source}`

const groupOf = (config: Config): string => `${config.project}-owner`

export class OwnerLanes {
  readonly state: State
  readonly counts = { contents: 0, deletes: 0, poison: 0, samples: 0, missed: 0 }
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
      topics: ['item-content', 'distill-samples'],
      start: 'earliest',
      batchRecords,
      commits: 'handler',
    })
    lanes.#consumer = consumer
    await consumer.run({
      // An owner without state builds it from the oldest record there is; what its group has committed says nothing of it.
      onAssigned: (lane) => lanes.#assigned(lane),
      onBatch: (batch, lane) => (batch.topic === 'item-content' ? lanes.#contentBatch(batch, lane) : lanes.#sampleBatch(batch, lane)),
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
  async positions(topic: 'item-content' | 'distill-samples'): Promise<TopicPosition[]> {
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

  async #contentBatch(batch: LogBatch, lane: Lane): Promise<void> {
    const source = positionName('item-content', batch.partition)
    const records = batch.records.filter((record) => !isMark(record))
    await prepareSchemas(this.#project, batch, lane)
    const { arrivals, poison } = this.#decodeContent(batch, records)
    await this.#setAside(lane, poison)
    let newest = -Infinity
    let watermark: LaneWatermark | undefined
    await this.change((clock) => {
      newest = arrivals.reduce((most, { entry }) => Math.max(most, entry.eventTs), this.#newestContentTs)
      watermark = new LaneWatermark(this.#project.config.training.latenessMs, this.#watermarks.get(source)!.value)
      for (const { entry } of arrivals) watermark.observe(entry.eventTs)
      if (batch.records.some(isEndMark)) watermark.end()
      clock.apply({ kind: 'watermark', source, watermarkTs: watermark.value })
      return {
        puts: [
          ...contentPuts(this.state, arrivals, this.closedTs, this.#scratch),
          [watermarkKey(source), floatBytes(watermark.value)],
          [heardKey(source), floatBytes(newest)],
        ],
        positions: [[source, batch.next]],
      }
    })
    this.#newestContentTs = Math.max(this.#newestContentTs, newest)
    this.#watermarks.set(source, watermark!)
    await this.#commit(lane, batch.next)
    this.#heardAt.set(source, this.#project.clock())
    this.counts.poison += poison.length
    this.#onChange()
  }

  #decodeContent(batch: LogBatch, records: LogBatch['records']): { arrivals: ContentArrival[]; poison: PoisonRecord[] } {
    const out = this.#content
    const { codec } = this.#project
    decodeContent(this.#project, records, out)
    const arrivals: ContentArrival[] = []
    const poison: PoisonRecord[] = []
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!
      const error = out.errors.get(i)
      if (error !== undefined) {
        poison.push({ topic: 'item-content', partition: batch.partition, record, error })
      } else if (record.value === null) {
        try {
          arrivals.push({
            itemId: tombstoneId(record, this.#project.codec),
            entry: { offset: record.offset, eventTs: record.timestamp, value: undefined },
          })
          this.counts.deletes++
        } catch (thrown) {
          poison.push({ topic: 'item-content', partition: batch.partition, record, error: asPoison(thrown) })
        }
      } else {
        this.counts.contents++
        const value = codec.toOwn('item-content', record.value, this.#expectations) // the state is read without a registry
        arrivals.push({ itemId: out.ids[i]!, entry: { offset: record.offset, eventTs: out.eventTs[i]!, value } })
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

/** All sources a round waits for: every ingest lane through every sample partition, and every content partition. */
async function sourcesOf({ log }: Project): Promise<string[]> {
  const admin = await log.admin()
  const [interactions, samples, contents] = await Promise.all(
    ['interactions', 'distill-samples', 'item-content'].map((topic) => admin.describe(topic)),
  )
  const sources: string[] = []
  for (let p = 0; p < interactions!.partitions; p++) {
    for (let q = 0; q < samples!.partitions; q++) sources.push(`${positionName('interactions', p)}@${q}`)
  }
  for (let p = 0; p < contents!.partitions; p++) sources.push(positionName('item-content', p))
  return sources
}
