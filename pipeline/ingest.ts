/**
 * The ingest role: interactions in, histories in the lane's state, samples and watermarks out.
 * Invariants: dead letters and samples are acknowledged before the state moves past their records; the watermark is sent
 * after the samples it vouches for; a batch that comes twice changes nothing; a worker that takes a partition over makes its
 * histories anew and says nothing twice.
 */

import { applyInteractions, checkEventTime, LaneWatermark, sampleKey } from '../distill/index.ts'
import type { SampleOptions, SampleSetOptions } from '../distill/index.ts'
import type { Config, DistillSample, Interaction } from '../schemas/index.ts'
import type { Lane, LogBatch, LogConsumer, LogProducer, State } from '../connectors/index.ts'
import { floatBytes, readFloat } from './bytes.ts'
import { asPoison, DeadLetters } from './dead-letters.ts'
import type { PoisonRecord } from './dead-letters.ts'
import { gapTeller } from './gaps.ts'
import { positionName } from './positions.ts'
import type { Project } from './project.ts'
import { importedRow, isEndMark, isMark } from './record-headers.ts'
import { prepareSchemas } from './schemas-ahead.ts'

export interface IngestCounts {
  interactions: number
  samples: number
  duplicates: number
  outOfOrder: number
  expired: number
  poison: number
  /** Offsets whose records were removed before they were read. */
  missed: number
}

const topic = 'interactions'
const watermarkKey = 'watermark'
const importKey = (file: string): string => `import/${file}`
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/**
 * Interactions that no worker has taken in yet, by position name, whichever process reads them: what the group has not committed.
 * Samples and watermarks of committed records are in the log.
 */
export async function ingestLag({ config, log }: Pick<Project, 'config' | 'log'>): Promise<Map<string, bigint>> {
  const admin = await log.admin()
  const committed = await admin.committed(groupOf(config), topic)
  const { start, end } = await admin.describe(topic)
  return new Map(end.map((next, p) => [positionName(topic, p), max(0n, next - max(start[p]!, committed[p] ?? 0n))]))
}

/** Candidates of a sample when a filtered set is made and nothing else is said. */
const filteredCandidates = 200

/** Sample options that follow from the configuration. */
export function sampleOptions({ interactions, sequences }: Config): SampleOptions {
  const { events, history, sets, candidates, minKinds, jaccard } = sequences
  const isFiltered = sets.some((set) => set !== 'plain')
  return {
    positiveBehaviors: new Set(interactions.positiveBehaviors),
    historyLength: candidates ?? history,
    sequenceEvents: events,
    emptyHistories: true,
    ...(isFiltered && { marks: { candidates: candidates ?? Math.max(history, filteredCandidates), minKinds, jaccard } }),
  }
}

/** Which training rows a configuration wants. */
export function setOptions({ sequences }: Config): SampleSetOptions {
  const { sets, history, minItems, contentCut, contentQuantile, clusters } = sequences
  return { sets, length: history, minItems, contentCut, contentQuantile, clusters }
}

const groupOf = (config: Config): string => `${config.project}-ingest`
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)

/** What one assigned partition holds while it is ours. */
interface IngestLane {
  readonly state: State
  readonly watermark: LaneWatermark
  /** The watermark that the sample log has for sure. */
  toldTs: number
  /** Records before this offset have made their samples and dead letters already, maybe in another worker: only histories come of them. */
  readonly doneUntil: bigint
}

export class Ingest {
  readonly counts: IngestCounts = { interactions: 0, samples: 0, duplicates: 0, outOfOrder: 0, expired: 0, poison: 0, missed: 0 }
  readonly #project: Project
  readonly #consumer: LogConsumer
  readonly #producer: LogProducer
  readonly #deadLetters: DeadLetters
  readonly #options: SampleOptions
  readonly #known: ReadonlySet<string> | undefined
  readonly #lanes = new Map<number, IngestLane>()
  readonly #samplePartitions: number

  private constructor(project: Project, consumer: LogConsumer, producer: LogProducer, samplePartitions: number) {
    const { config } = project
    this.#project = project
    this.#consumer = consumer
    this.#producer = producer
    this.#deadLetters = new DeadLetters(producer, project)
    this.#options = sampleOptions(config)
    this.#known =
      config.interactions.unknownBehaviors === 'accept'
        ? undefined
        : new Set([...config.interactions.positiveBehaviors, ...config.interactions.otherBehaviors])
    this.#samplePartitions = samplePartitions
  }

  /** Starts consuming; `onFatal` is told when the lanes can go on no more. */
  static async start(project: Project, onFatal: (error: Error) => void): Promise<Ingest> {
    const consumer = await project.log.consumer({ group: groupOf(project.config), topics: [topic], start: 'earliest', commits: 'handler' })
    const admin = await project.log.admin()
    const [{ partitions }, producer] = await Promise.all([admin.describe('distill-samples'), project.log.producer()])
    const ingest = new Ingest(project, consumer, producer, partitions)
    await consumer.run({
      onAssigned: (lane) => ingest.#assigned(lane),
      onBatch: (batch, lane) => ingest.#batch(batch, lane),
      onRevoked: (lane) => ingest.#revoked(lane),
      onGap: gapTeller(project, 'ingest', (missed) => (ingest.counts.missed += missed)),
      onFatal,
    })
    return ingest
  }

  lag(): Promise<Map<string, bigint>> {
    return this.#consumer.lag()
  }

  async stop(): Promise<void> {
    await this.#consumer.stop({ drainMs: 5000 })
    for (const { state } of this.#lanes.values()) await state.close()
    this.#lanes.clear()
    await this.#producer.close()
  }

  async #assigned(lane: Lane): Promise<bigint | undefined> {
    const state = await this.#project.openState(`ingest-${lane.partition}`)
    const stored = state.get(watermarkKey)
    const watermark = new LaneWatermark(this.#project.config.training.latenessMs, stored === undefined ? -Infinity : readFloat(stored))
    // A worker without the partition's histories makes them again from the oldest interaction there is.
    const next = state.position(positionName(topic, lane.partition)) ?? 0n
    const assigned = { state, watermark, toldTs: -Infinity, doneUntil: max(next, await this.#committed(lane.partition)) }
    this.#lanes.set(lane.partition, assigned)
    // The process may have ended between the state commit and the watermark: say it again.
    if (next > 0n) await this.#tellWatermark(assigned, lane.partition, next)
    return next
  }

  /** The group's hint: it is committed after samples, so what is below it has been said by whoever committed it. */
  async #committed(partition: number): Promise<bigint> {
    const admin = await this.#project.log.admin()
    return (await admin.committed(groupOf(this.#project.config), topic))[partition] ?? 0n
  }

  async #revoked(lane: Lane): Promise<void> {
    await this.#lanes.get(lane.partition)?.state.close()
    this.#lanes.delete(lane.partition)
  }

  async #batch(batch: LogBatch, lane: Lane): Promise<void> {
    const assigned = this.#lanes.get(batch.partition)!
    const { state, watermark, doneUntil } = assigned
    await prepareSchemas(this.#project, batch, lane)
    const { rows, poison, imported, ended } = this.#decode(batch, state)
    const source = positionName(topic, batch.partition)
    const applied = applyInteractions({ source, rows, next: batch.next, samplesFrom: doneUntil }, state, this.#options)
    await this.#deadLetters.send(poison.filter(({ record }) => record.offset >= doneUntil))
    await this.#sendSamples(applied.samples)
    for (const { value } of rows) watermark.observe(value.eventTs)
    if (ended) watermark.end()
    await state.commit({
      puts: [...applied.commit.puts, ...imported, [watermarkKey, floatBytes(watermark.value)]],
      deletes: applied.commit.deletes,
      positions: applied.commit.positions,
    })
    await this.#tellWatermark(assigned, batch.partition, batch.next)
    this.#count(applied.counts, poison.length)
    if (batch.next >= doneUntil) await lane.commit(batch.next)
  }

  #decode(
    batch: LogBatch,
    state: State,
  ): {
    rows: { offset: bigint; value: Interaction }[]
    poison: PoisonRecord[]
    imported: [string, Uint8Array][]
    ended: boolean
  } {
    const rows: { offset: bigint; value: Interaction }[] = []
    const poison: PoisonRecord[] = []
    const lastRow = new Map<string, number>()
    let ended = false
    for (const record of batch.records) {
      if (isMark(record)) {
        ended ||= isEndMark(record)
        continue
      }
      const origin = importedRow(record)
      if (origin !== undefined) {
        const stored = lastRow.get(origin.file) ?? Number(decoder.decode(state.get(importKey(origin.file)) ?? encoder.encode('-1')))
        if (origin.row <= stored) continue
        lastRow.set(origin.file, origin.row)
      }
      try {
        const value = this.#project.codec.decode(
          'interactions',
          record.value ?? new Uint8Array(),
          this.#known === undefined ? {} : { behaviors: this.#known },
        )
        checkEventTime(value.eventTs, record.timestamp, this.#project.config.interactions.maxFutureMs)
        rows.push({ offset: record.offset, value })
      } catch (error) {
        poison.push({ topic, partition: batch.partition, record, error: asPoison(error) })
      }
    }
    const imported = [...lastRow].map(([file, row]): [string, Uint8Array] => [importKey(file), encoder.encode(String(row))])
    return { rows, poison, imported, ended }
  }

  async #sendSamples(samples: readonly DistillSample[]): Promise<void> {
    if (samples.length === 0) return
    const records = samples.map((sample) => ({
      key: encoder.encode(sampleKey(sample)),
      value: this.#project.codec.encode('distill-samples', sample),
    }))
    await this.#producer.send('distill-samples', undefined, records)
  }

  /** Says the lane's watermark when it has not been said; a failed try leaves it to the next. */
  async #tellWatermark(lane: IngestLane, partition: number, next: bigint): Promise<void> {
    const watermarkTs = lane.watermark.value
    if (watermarkTs <= lane.toldTs) return
    const value = this.#project.codec.encode('distill-samples', { kind: 'watermark', topic, partition, watermarkTs, next })
    const told = Array.from({ length: this.#samplePartitions }, (_, p) => this.#producer.send('distill-samples', p, [{ key: null, value }]))
    await Promise.all(told)
    lane.toldTs = watermarkTs
  }

  #count(
    applied: { added: number; merged: number; samples: number; duplicates: number; outOfOrder: number; expired: number },
    poison: number,
  ): void {
    this.counts.interactions += applied.added + applied.merged
    this.counts.samples += applied.samples
    this.counts.duplicates += applied.duplicates
    this.counts.outOfOrder += applied.outOfOrder
    this.counts.expired += applied.expired
    this.counts.poison += poison
  }
}
