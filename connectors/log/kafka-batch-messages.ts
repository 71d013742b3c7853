/**
 * A batch for one partition in the place of kafkajs's messages. kafkajs groups messages by partition with a copy of their array per
 * message, which is most of what sending a thousand of them costs; what is in them it would have to encode one by one.
 * Invariant: kafkajs sees as many messages as there are records, for its sequence numbers.
 */
import type { Message } from 'kafkajs'
import type { ProducerRecord } from './log.ts'

/**
 * On their way to a broker kafkajs asks two things of an array of messages: `find` for one without a value, and `reduce` for
 * the groups by partition. It holds nothing itself but how many there are.
 */
export class BatchMessages extends Array<Message> {
  readonly records: readonly ProducerRecord[]
  readonly partition: number

  constructor(records: readonly ProducerRecord[], partition: number) {
    super()
    this.length = records.length
    this.records = records
    this.partition = partition
  }

  override find(): undefined {
    return undefined
  }

  override reduce<U>(): U {
    return { [this.partition]: this } as U
  }
}
