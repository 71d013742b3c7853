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
export { evaluationDefaults, planEvaluation } from './evaluation.ts'
export type { EvaluationOptions, EvaluationPlan, EvaluationStream } from './evaluation.ts'
export { scoreVectors, summarize } from './evaluation-scores.ts'
export type { EvaluationScores, EvaluationSummary } from './evaluation-scores.ts'
export { bootstrapDefaults, bootstrapMean } from './evaluation-bootstrap.ts'
export type { BootstrapOptions, Interval } from './evaluation-bootstrap.ts'
export { guard, guardDefaults } from './guard.ts'
export type { ClauseName, GuardClause, GuardInput, GuardOptions } from './guard.ts'
export { judge, judgeDefaults, pickCandidate } from './judge.ts'
export type { Figures, JudgeInput, JudgeOptions, Judgement, VectorSet } from './judge.ts'
export { neighborDefaults, neighborRecall } from './neighbors.ts'
export type { NeighborOptions, NeighborSets } from './neighbors.ts'
export { openSimilarity, plainSimilarity } from './similarity.ts'
