/** The topics of a project: name, cleanup policy and which side owns them. */

export interface TopicSpec {
  readonly name: TopicName
  /** `compact` keeps the last record per key, `delete` drops whole old segments, `forever` keeps all. */
  readonly cleanup: 'compact' | 'delete' | 'forever'
  /** `many`: the configured partition count; `one`: exactly one. */
  readonly partitions: 'many' | 'one'
}

export type TopicName =
  | 'interactions'
  | 'item-content'
  | 'id-embeddings'
  | 'item-pairs'
  | 'histories'
  | 'distill-samples'
  | 'item-features'
  | 'feature-versions'
  | 'control'
  | 'artifacts'
  | 'dead-letters'

export const topics: readonly TopicSpec[] = [
  { name: 'interactions', cleanup: 'delete', partitions: 'many' },
  { name: 'item-content', cleanup: 'compact', partitions: 'many' },
  { name: 'id-embeddings', cleanup: 'compact', partitions: 'many' },
  { name: 'item-pairs', cleanup: 'delete', partitions: 'many' },
  { name: 'histories', cleanup: 'compact', partitions: 'many' },
  { name: 'distill-samples', cleanup: 'delete', partitions: 'many' },
  { name: 'item-features', cleanup: 'delete', partitions: 'many' },
  { name: 'feature-versions', cleanup: 'forever', partitions: 'one' },
  { name: 'control', cleanup: 'forever', partitions: 'one' },
  { name: 'artifacts', cleanup: 'compact', partitions: 'one' },
  { name: 'dead-letters', cleanup: 'delete', partitions: 'one' },
]
