/** A state that holds its bytes in memory: what ingest needs of the state port, with reads counted. */
import type { AppliedInteractions, SequenceStore } from '../../distill/index.ts'
import type { Interaction } from '../../schemas/index.ts'

export class SequenceState implements SequenceStore {
  readonly bytes = new Map<string, Uint8Array>()
  readonly positions = new Map<string, bigint>()
  readonly reads: string[] = []

  getMany(keys: readonly string[]): (Uint8Array | undefined)[] {
    this.reads.push(...keys)
    return keys.map((key) => this.bytes.get(key))
  }

  position(name: string): bigint | undefined {
    return this.positions.get(name)
  }

  commit({ puts, deletes, positions }: AppliedInteractions['commit']): void {
    for (const [key, value] of puts) this.bytes.set(key, value)
    for (const key of deletes) this.bytes.delete(key)
    for (const [name, next] of positions) this.positions.set(name, next)
  }
}

export const likes: ReadonlySet<string> = new Set(['like', 'finish'])

/** `user item time behavior`: one interaction in short. */
export function interaction(userId: string, itemId: string, eventTs: number, ...behaviors: string[]): Interaction {
  return { userId, itemId, eventTs, behaviors: behaviors.length > 0 ? behaviors : ['like'] }
}

/** A batch of consecutive offsets of one source partition. */
export function batch(
  first: bigint,
  ...values: Interaction[]
): {
  source: string
  rows: { offset: bigint; value: Interaction }[]
  next: bigint
} {
  const rows = values.map((value, i) => ({ offset: first + BigInt(i), value }))
  return { source: 'interactions/0', rows, next: first + BigInt(values.length) }
}
