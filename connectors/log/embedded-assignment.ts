/**
 * Which member of a group has which partition.
 * Invariants: a partition is owned whenever a member wants it, and by one that does; between members that want a topic its
 * counts differ by one at most; nothing moves without need; the same changes in the same order give the same owners.
 */

export interface AssignmentInput<P extends { readonly topic: string }, M extends object> {
  /** In a fixed order. */
  readonly partitions: readonly P[]
  /** In the order they joined. */
  readonly members: readonly M[]
  readonly wants: (member: M, topic: string) => boolean
  /** Who has it now. */
  readonly owner: (partition: P) => M | undefined
}

/** Owners aligned with `partitions`; undefined where no member wants the topic. */
export function assignPartitions<P extends { readonly topic: string }, M extends object>(input: AssignmentInput<P, M>): (M | undefined)[] {
  const { partitions, members, wants, owner } = input
  const loads = new Loads(members, wants)
  const owners = partitions.map((partition) => {
    const before = owner(partition)
    if (before === undefined || !loads.takes(before, partition.topic)) return undefined
    loads.add(before, partition.topic, 1)
    return before
  })
  for (const [i, { topic }] of partitions.entries()) {
    if (owners[i] !== undefined) continue
    owners[i] = loads.least(topic)
    if (owners[i] !== undefined) loads.add(owners[i]!, topic, 1)
  }
  // Each move lowers the sum of squared counts per topic, or keeps it and lowers that of the totals: so it ends.
  for (let moved = true; moved;) {
    moved = false
    for (let i = partitions.length - 1; i >= 0; i--) {
      const [from, { topic }] = [owners[i], partitions[i]!]
      const to = loads.least(topic)
      if (from === undefined || to === undefined || !loads.isUneven(from, to, topic)) continue
      loads.add(from, topic, -1)
      loads.add(to, topic, 1)
      owners[i] = to
      moved = true
    }
  }
  return owners
}

/** How many partitions each member has, in all and per topic. */
class Loads<M extends object> {
  readonly #members: readonly M[]
  readonly #wants: (member: M, topic: string) => boolean
  readonly #totals: Map<M, number>
  readonly #topics = new Map<string, Map<M, number>>()

  constructor(members: readonly M[], wants: (member: M, topic: string) => boolean) {
    this.#members = members
    this.#wants = wants
    this.#totals = new Map(members.map((member) => [member, 0]))
  }

  takes(member: M, topic: string): boolean {
    return this.#of(topic).has(member)
  }

  add(member: M, topic: string, count: number): void {
    const counts = this.#of(topic)
    counts.set(member, counts.get(member)! + count)
    this.#totals.set(member, this.#totals.get(member)! + count)
  }

  /** Who has least of the topic, then least in all, then joined first. */
  least(topic: string): M | undefined {
    let found: M | undefined
    for (const member of this.#of(topic).keys()) {
      if (found === undefined || this.#isBelow(member, found, topic)) found = member
    }
    return found
  }

  /** True when moving a partition of the topic makes the counts more even. */
  isUneven(from: M, to: M, topic: string): boolean {
    const ofTopic = this.#of(topic).get(from)! - this.#of(topic).get(to)!
    return ofTopic >= 2 || (ofTopic === 1 && this.#totals.get(from)! - this.#totals.get(to)! >= 2)
  }

  #isBelow(a: M, b: M, topic: string): boolean {
    const ofTopic = this.#of(topic).get(a)! - this.#of(topic).get(b)!
    return ofTopic < 0 || (ofTopic === 0 && this.#totals.get(a)! < this.#totals.get(b)!)
  }

  /** Counts of the members that want the topic, in the order they joined. */
  #of(topic: string): Map<M, number> {
    let counts = this.#topics.get(topic)
    if (counts === undefined) {
      counts = new Map(this.#members.filter((member) => this.#wants(member, topic)).map((member) => [member, 0]))
      this.#topics.set(topic, counts)
    }
    return counts
  }
}
