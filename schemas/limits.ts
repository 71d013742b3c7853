/** Bounds on everything that comes from outside, checked before anything is allocated for it. */

export const limits = {
  /** Largest record value that is decoded, bytes. */
  recordBytes: 1_000_000,
  /** Largest dead letter, bytes: it holds a refused record whole. */
  deadLetterBytes: 16_000_000,
  /** Latest event time: the end of the year 9999, milliseconds since epoch. Later ones are microseconds or rubbish. */
  eventTs: 253_402_300_799_999,
  /** Longest id, bytes of UTF-8. */
  idBytes: 512,
  /** Longest short text (surface, source, label, behavior, entity), bytes of UTF-8. */
  textBytes: 256,
  /** Largest vector dimension. */
  dim: 8192,
  /** Largest size of a number of a vector: beyond it float32 lengths overflow, and one record would give no vector at all. */
  vectorNumber: 1e12,
  /** Most modalities of one item. */
  modalities: 16,
  /** Most behaviors of one interaction. */
  behaviors: 64,
  /** Most labels of one item. */
  labels: 256,
  /** Most events in one history or history chunk. */
  history: 1000,
  /** Most users, and most items, of a run over files: V8's maps end at 16.7 million keys. */
  offlineIds: 16_000_000,
  /** Most headers of one dead letter. */
  headers: 256,
  /** Longest schema of another writer with all that it refers to, characters of JSON. */
  schemaCharacters: 1_000_000,
  /** Deepest nesting of a schema's JSON. */
  schemaDepth: 192,
  /** Most schemas that one refers to, directly and through others. */
  schemaReferences: 64,
  /** Longest chain of references. */
  schemaReferenceDepth: 16,
} as const
