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
export { behaviorMark, markBits, markDefaults } from './behavior-marks.ts'
export type { MarkOptions } from './behavior-marks.ts'
export { filterDefaults, filterHistory, filterSets, noCounts } from './sequence-filters.ts'
export type { CandidateHistory, FilterContent, FilterCounts, FilterOptions, FilterSet } from './sequence-filters.ts'
export { rowsOfSets, sampleSetDefaults, sampleSets, sourceOfSet } from './sample-sets.ts'
export type { SampleItem, SampleSet, SampleSetOptions, SetRows } from './sample-sets.ts'
export { contentCosine, sameContent } from './content-similarity.ts'
export {
  buildTeacherBatch,
  exposureWeight,
  meanExposures,
  teacherDefaults,
  teacherFault,
  teacherId,
  teachersOfSource,
  weigherOf,
} from './teachers.ts'
export type {
  ExposureWeightOptions,
  TeacherBatch,
  TeacherBatchOptions,
  TeacherCounts,
  TeacherJoin,
  TeacherKind,
  TeacherLookup,
  TeacherVector,
} from './teachers.ts'
export { checkEventTime, LaneWatermark, RoundClock, roundDefaults } from './rounds.ts'
export type { ClockEvent, RoundOptions, RoundSnapshot } from './rounds.ts'
export { addContent, contentAsOf, pruneContent } from './round-content.ts'
export type { ContentEntry } from './round-content.ts'
export { prepareRound, prepareSets } from './round-rows.ts'
export type { PreparedRound, RoundRow, RoundSets } from './round-rows.ts'
export { evaluationDefaults, planEvaluation } from './evaluation.ts'
export type { EvaluationOptions, EvaluationPlan, EvaluationStream } from './evaluation.ts'
export { scoreVectors, summarize } from './evaluation-scores.ts'
export type { EvaluationScores, EvaluationSummary } from './evaluation-scores.ts'
export { bootstrapDefaults, bootstrapMean, bootstrapMeans } from './evaluation-bootstrap.ts'
export type { BootstrapOptions, Interval } from './evaluation-bootstrap.ts'
export { gate } from './gate.ts'
export type { FigureSet, GateInput, GateRow, GateRule, GateRules, JudgedFigure } from './gate.ts'
export { guard, guardDefaults } from './guard.ts'
export type { ClauseName, GuardClause, GuardInput, GuardOptions } from './guard.ts'
export { numberedPairs, pairQuestions, scorePairs, splitPairs } from './held-out-pairs.ts'
export type { GivenPair, GradedPairs, HeldOutPairs, PairQuestions, PairScores } from './held-out-pairs.ts'
export { interpolateHeads, paretoSteps, paretoSweep, tradeFigures } from './interpolation.ts'
export type { ParetoCurve, ParetoPoint, TradeFigures } from './interpolation.ts'
export { judge, judgeDefaults, pickCandidate } from './judge.ts'
export type { Figures, JudgeInput, JudgeOptions, Judgement } from './judge.ts'
export type { VectorSet } from './vector-set.ts'
export { neighborDefaults, neighborRecall } from './neighbors.ts'
export type { NeighborOptions, NeighborSets } from './neighbors.ts'
export {
  clusterAgreement,
  clusterDefaults,
  pairAuc,
  pairCosines,
  recallDepths,
  recallPerQuery,
  relevantRanks,
  retrievalMetrics,
} from './retrieval-metrics.ts'
export type { ClusterOptions, Relevance, RetrievalInput, RetrievalMetrics } from './retrieval-metrics.ts'
export { retrievalReport } from './retrieval-report.ts'
export type { ReportFigure, RetrievalReport } from './retrieval-report.ts'
export type { ScoreSpace } from './score-rows.ts'
export { kendallAgreement, kendallDefaults, topKIntersection } from './space-agreement.ts'
export type { KendallOptions, SpacePair } from './space-agreement.ts'
export { openSimilarity, plainSimilarity, similarityIn } from './similarity.ts'
export { noNegatives, partnersOf } from './positive-pairs.ts'
export type { Partners, PositivePairs } from './positive-pairs.ts'
export {
  countScores,
  emptyHistogram,
  lambdaStar,
  lambdaStarInBins,
  lambdaStarOfPairs,
  mergeHistograms,
  openBins,
  scoresInBins,
} from './lambda-star.ts'
export type { LambdaStar, PairVectors, ScoreHistogram } from './lambda-star.ts'
export { mineHardNegatives, miningDefaults } from './hard-negatives.ts'
export type { MinedNegatives, MiningInput, MiningOptions } from './hard-negatives.ts'
export { sinkhorn, sinkhornDefaults } from './sinkhorn.ts'
export type { SinkhornOptions, TransportPlan } from './sinkhorn.ts'
export { balanceClusters, balanceDefaults, balanceSources, effectiveSources, sourceWeights, weightDefaults } from './source-balance.ts'
export type { BalanceOptions, ClusteredSample, ClusteringOptions, SourceBalance, VectorSample, WeightOptions } from './source-balance.ts'
export { drawSource } from './source-draw.ts'
export { allowedNegatives, buildBatch, idRow, pairRow, splitRows, usableRows } from './batches.ts'
export type { Batch, BatchOptions, ContentLookup, TeacherRows, TrainingRow, UsableRows } from './batches.ts'
export { decodeCheckpoint, decodeHead, decodeTensors, encodeCheckpoint, encodeHead, encodeTensors } from './checkpoint.ts'
export type { Checkpoint, CheckpointParts, CheckpointPosition, TrainingState } from './checkpoint.ts'
export { HeadEncoder, headEncoderDefaults, headModel } from './head-encoder.ts'
export type { EncodedItems, HeadEncoderOptions, HeadModelOptions } from './head-encoder.ts'
export { appendDistilled, appendFusion, appendHead, appendHeadViews, appendWhitening, headInputs, withParameters } from './head-graph.ts'
export type { HeadInputs, HeadOutputs } from './head-graph.ts'
export { contentColumns, createHead, headDefaults, headLayout, headSpec, parameterShapes, requireHead } from './head.ts'
export type { ContentColumn, Head, HeadOptions, HeadSpec } from './head.ts'
export { dropModalities } from './modality-dropout.ts'
export { infoNce, matryoshkaNce, meanPool, prefixView, temperature, temperatureBounds } from './losses.ts'
export type { HardNegatives, InfoNceInputs, LossOutputs, MatryoshkaOptions, PrefixInputs, TemperatureOptions } from './losses.ts'
export { appendTeacher, createTeacher, idToItemNce, teacherInputs } from './id-losses.ts'
export type { IdToItemInputs, Teacher, TeacherEntity, TeacherInputs, TeacherOptions, TeacherOutputs } from './id-losses.ts'
export { cosent, lossWeightDefaults, modalityNce, totalLoss } from './pair-losses.ts'
export type { CosentInputs, CosentOutputs, LossTerms, LossWeights, ModalityInputs, ModalityNceOptions } from './pair-losses.ts'
export { appendPooler, createPooler, poolerDefaults, poolerShapeDefaults, poolerShapes } from './pooler.ts'
export type { Pooler, PoolerOptions, PoolerOutputs, PoolerShape, PoolerSpec } from './pooler.ts'
export { fitStatistics, halfWhiten, modalityStatistics, sdFloor, statisticsDefaults, whiteningMatrix } from './statistics.ts'
export type { ContentVectors, Modality, ModalityStatistics, StatisticsOptions } from './statistics.ts'
export { batchFeeds, plainStep, sourceLoss, stepGraph } from './source-graph.ts'
export type { SourceLoss, StepOptions, StepVariant } from './source-graph.ts'
export { fusedSide, trainingSources } from './sources.ts'
export type { ModalityPattern, SourceKind, SourceOptions, SourceOverride, TrainingSource } from './sources.ts'
export { stepOrder, stepsPerPass } from './step-order.ts'
export type { PlannedStep, SourceRows, StepOrderOptions } from './step-order.ts'
export { createMiner, minerDefaults } from './miner.ts'
export type { MinerInput, MinerOptions, MiningReport } from './miner.ts'
export { contentPairs } from './content-pairs.ts'
export { encodeItemsOf, rowVectors } from './row-vectors.ts'
export type { ItemVectors, RowVectors } from './row-vectors.ts'
export { runStages } from './stages.ts'
export type { StageBalance, StageOptions, StagePosition, StageResult, StagesInput } from './stages.ts'
export { Trainer, trainerDefaults } from './trainer.ts'
export type {
  BatchStep,
  Mining,
  NegativesOfBatches,
  RowsBySource,
  SourceResult,
  StepResult,
  Trained,
  TrainerOptions,
  TrainingPlan,
  TrainingResult,
} from './trainer.ts'
export { embedOffline } from './embed.ts'
export type { EmbeddedBatch, EmbedInput } from './embed.ts'
export { distillOffline } from './offline.ts'
export type { OfflineInput, OfflineResult } from './offline.ts'
export { offlineDefaults } from './offline-plan.ts'
export type { OfflineOptions, OfflinePlan } from './offline-plan.ts'
export type { OfflineReport } from './offline-report.ts'
export type { EndedStage, KeptTraining, OfflineProgress, StageEnd } from './offline-training.ts'
export type { ContentRecord, OfflineRecords, OfflineTeacherKind, RecordBatches } from './offline-data.ts'
export type { OfflineJudgement, SpaceName } from './offline-judge.ts'
export { spaceInput } from './space-input.ts'
export type { SpaceSource } from './space-input.ts'
export type { ItemIdEmbeddings, NotMeasured, SpaceInput } from './space-figures.ts'
export { labelNumbers } from './content-clusters.ts'
export { hasTaught, nobodyTaught, withTaught } from './taught-items.ts'
export type { TaughtItems } from './taught-items.ts'
export type { OfflineSource, SourceCounts } from './offline-sources.ts'
export type { ItemMap, MapSide } from './item-map.ts'
export { rawVectors } from './raw-vectors.ts'
export type { MinedStep, StageBalanced, StageSummary, StepColumns, TrainingTrace } from './training-trace.ts'
