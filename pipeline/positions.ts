/** Names of source positions, as states and records write them. */

export interface TopicPosition {
  readonly topic: string
  readonly partition: number
  /** Next offset to read, decimal. */
  readonly next: string
}

/** `topic/partition`. */
export function positionName(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
