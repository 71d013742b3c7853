/**
 * The consumers of one group in this process: who has which partition, and who had it before.
 * Invariant: a partition's next lane starts after the lane before it has ended with its handler and `onRevoked`; only
 * partitions whose owner changes are disturbed.
 */
import { assignPartitions } from './embedded-assignment.ts'
import type { Partition, Topic } from './partition.ts'

export interface GroupMember {
  wants(topic: string): boolean
  /** The partition is its own now, under this epoch. */
  assign(partition: Partition, epoch: number): void
  /** The partition is no longer its own. Resolves, never rejects, when its lane has ended. */
  revoke(name: string): Promise<void>
  /** A topic of which it has partitions is about to be deleted. */
  topicDeleted(name: string): Promise<void>
}

interface Holding {
  readonly partition: Partition
  readonly member: GroupMember
  readonly epoch: number
}

export class EmbeddedGroup {
  readonly #topics: () => readonly Topic[]
  readonly #members: GroupMember[] = []
  readonly #holdings = new Map<string, Holding>()
  /** Lanes that have not ended yet; the next of the partition waits. */
  readonly #ending = new Map<string, Promise<unknown>>()
  /** Grows with every assignment. */
  #epoch = 0

  /** @param topics - those that can be read now */
  constructor(topics: () => readonly Topic[]) {
    this.#topics = topics
  }

  join(member: GroupMember): void {
    this.#members.push(member)
    this.balance()
  }

  leave(member: GroupMember): void {
    const at = this.#members.indexOf(member)
    if (at < 0) return
    this.#members.splice(at, 1)
    this.balance()
  }

  holds(member: GroupMember, name: string, epoch: number): boolean {
    const holding = this.#holdings.get(name)
    return holding?.member === member && holding.epoch === epoch
  }

  /** Resolves when no earlier lane of the partition is left. */
  async ended(name: string): Promise<void> {
    for (let ending; (ending = this.#ending.get(name)) !== undefined;) await ending
  }

  /** Tells members with partitions of the topic; it must not be among `topics` any more. */
  async topicDeleted(name: string): Promise<void> {
    const readers = new Set<GroupMember>()
    for (const { partition, member } of this.#holdings.values()) if (partition.topic === name) readers.add(member)
    await Promise.all([...readers].map((member) => member.topicDeleted(name)))
  }

  /** Settles anew who has what: members or topics have come or gone. No member is called back before it returns. */
  balance(): void {
    const partitions = this.#topics()
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((topic) => topic.partitions)
    const owners = assignPartitions<Partition, GroupMember>({
      partitions,
      members: this.#members,
      wants: (member, topic) => member.wants(topic),
      owner: (partition) => this.#holdings.get(nameOf(partition))?.member,
    })
    const gone = new Set(this.#holdings.keys())
    for (const [i, partition] of partitions.entries()) {
      const [name, member] = [nameOf(partition), owners[i]]
      const before = this.#holdings.get(name)
      if (member !== undefined) gone.delete(name)
      if (member === undefined || before?.member === member) continue
      if (before !== undefined) this.#end(name, before)
      const epoch = ++this.#epoch
      this.#holdings.set(name, { partition, member, epoch })
      member.assign(partition, epoch)
    }
    for (const name of gone) {
      this.#end(name, this.#holdings.get(name)!)
      this.#holdings.delete(name)
    }
  }

  #end(name: string, { member }: Holding): void {
    const ending = Promise.all([this.#ending.get(name), member.revoke(name)]).then(() => {
      if (this.#ending.get(name) === ending) this.#ending.delete(name)
    })
    this.#ending.set(name, ending)
  }
}

/** `topic/partition`. */
export function nameOf({ topic, index }: Partition): string {
  return `${topic}/${index}`
}
