/**
 * The topics that a consumer reads: named ones must be there, patterns take what matches by its logical name.
 * Invariant: a topic that was read and is gone is an error, never silence.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { SidestreamError } from '../../schemas/index.ts'
import type { KafkaNames } from './kafka-names.ts'
import type { KafkaView } from './kafka-view.ts'

/** Brokers may disagree for a moment: what is missing is looked for twice. */
const secondLookMs = 250

export class KafkaTopics {
  readonly #wanted: readonly (string | RegExp)[]
  readonly #names: KafkaNames
  readonly #view: KafkaView
  #physical: readonly string[] = []

  constructor(wanted: readonly (string | RegExp)[], { names, view }: { names: KafkaNames; view: KafkaView }) {
    this.#wanted = wanted
    this.#names = names
    this.#view = view
  }

  /** As the brokers call them; none before `resolve`. */
  get physical(): readonly string[] {
    return this.#physical
  }

  nameOf(physical: string): string {
    return this.#names.logical(physical) ?? physical
  }

  /** Finds what there is to read by now. @throws SIDESTREAM_TOPIC_UNKNOWN for a named topic that is not there */
  async resolve(): Promise<void> {
    this.#physical = await this.#find()
  }

  /** @throws SIDESTREAM_TOPIC_UNKNOWN when a topic that is read is gone */
  async check(): Promise<void> {
    if (this.#physical.length === 0) return
    try {
      await this.#view.partitions(this.#physical)
    } catch (first) {
      if (!isUnknown(first)) throw first
      await sleep(secondLookMs)
      await this.#view.partitions(this.#physical).catch((error: unknown) => {
        if (!isUnknown(error)) throw error
        const message = `${error.message}; it was deleted while it was read`
        throw new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', message, { ...error.details, cause: error })
      })
    }
  }

  /** True when patterns match other topics than are read. @throws as `check` */
  async haveChanged(): Promise<boolean> {
    await this.check()
    if (!this.#wanted.some((topic) => typeof topic !== 'string')) return false
    const found = await this.#find()
    return found.length !== this.#physical.length || found.some((topic, i) => topic !== this.#physical[i])
  }

  async #find(): Promise<string[]> {
    const named = this.#wanted.filter((topic) => typeof topic === 'string').map((topic) => this.#names.topic(topic))
    const patterns = this.#wanted.filter((topic) => typeof topic !== 'string')
    if (named.length > 0) await this.#view.partitions(named)
    if (patterns.length === 0) return [...new Set(named)].sort()
    const all = [...(await this.#view.partitions([])).keys()]
    const matching = all.filter((topic) => {
      const name = this.#names.logical(topic)
      return name !== undefined && patterns.some((pattern) => name.search(pattern) >= 0)
    })
    return [...new Set([...named, ...matching])].sort()
  }
}

function isUnknown(error: unknown): error is SidestreamError {
  return error instanceof SidestreamError && error.code === 'SIDESTREAM_TOPIC_UNKNOWN'
}
