/**
 * Distillation: histories and samples from what users do, a head trained in event-time rounds, and the judge that
 * decides whether a checkpoint may be published. Knows nothing of logs, stores or semantic IDs.
 * @module
 */

export type { OpenSimilarity, SequenceCommit, SequenceStore, Similarity } from './ports.ts'
export { chunkEvents, chunkKey, decodeChunk, decodeTail, encodeChunk, encodeTail, tailKey } from './sequence-codec.ts'
export type { TailChunk } from './sequence-codec.ts'
export { UserSequence } from './sequence.ts'
export type { Insertion } from './sequence.ts'
export { applyInteractions, loadSequences, restoreSequence } from './sequences.ts'
export type { AppliedInteractions, IngestCounts, InteractionBatch } from './sequences.ts'
export { sampleDefaults, sampleKey, SampleBuilder, samplesFromInteractions } from './samples.ts'
export type { SampleOptions } from './samples.ts'
export { checkEventTime, LaneWatermark, RoundClock, roundDefaults } from './rounds.ts'
export type { ClockEvent, RoundOptions, RoundSnapshot } from './rounds.ts'
export { addContent, contentAsOf, pruneContent } from './round-content.ts'
export type { ContentEntry } from './round-content.ts'
export { prepareRound, RoundRows } from './round-rows.ts'
export type { PreparedRound, RoundRow } from './round-rows.ts'
