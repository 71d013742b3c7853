/**
 * Semantic IDs: fit residual codebooks, encode vectors, keep IDs still from one bundle to the next, judge an assignment.
 * Knows nothing of logs, stores or heads.
 * @module
 */

// Codebooks and the bundle that decides an ID.
export { codebooksOf, encodeDefaults, penaltiesOfPrices, vectorDimOf } from './codebooks.ts'
export type { Codebooks, EncodeSettings, Quantizer, WalkSettings } from './codebooks.ts'
export { fsqOf } from './fsq.ts'
export type { Fsq } from './fsq.ts'
export { networkOf, networkTolerance, throughNetwork } from './network.ts'
export type { Network, NetworkLayer } from './network.ts'
export { bundleFromParts, bundleOf, bundleToParts } from './bundle.ts'
export type { Bundle, BundleOrigin, BundleParts } from './bundle.ts'
export { ParentCodes } from './parent-codes.ts'

// Encoding: the float64 reference, the graph, and what makes them agree.
export { decode, encode, encodeSticky } from './encode.ts'
export type { Sticky } from './encode.ts'
export { appendEncode } from './encode-model.ts'
export type { WalkValues } from './walk-values.ts'
export { originsOf, settle } from './settle.ts'
export type { Proposal, Settled } from './settle.ts'
export { assign, SemanticIdEncoder } from './encoder.ts'
export type { Assigned, EncoderOptions, VectorRows } from './encoder.ts'

// Fitting and refreshing.
export { fitCodebooks, fitDefaults } from './fit.ts'
export type { Fit, FitOptions, FitProgress } from './fit.ts'
export { fitFromSource } from './fit-source.ts'
export type { RowBatch, RowSource, SourceFitOptions } from './fit-source.ts'
export { balanceDefaults } from './balanced.ts'
export type { BalanceOptions } from './balanced.ts'
export type { Attraction } from './attraction.ts'
export { refreshCodebooks, refreshDefaults } from './refresh.ts'
export type { Refresh, RefreshOptions } from './refresh.ts'
export type { RefreshInput } from './refresh-cohort.ts'
export type { CurvePoint } from './refresh-search.ts'
export type { ChurnBudget } from './churn-budget.ts'
export type { NewItems, RecallOptions } from './new-items.ts'
export { driftFigures, driftReasons, squaredErrors } from './drift.ts'
export type { DriftFigures, DriftThresholds, WatchedItem } from './drift.ts'
export { rebaseCodebooks } from './rebase.ts'
export type { Rebase, RebaseInput, RebaseOptions } from './rebase.ts'
export { namesAfter, relabelLimit } from './relabel.ts'
export type { LevelNames } from './relabel.ts'
export { codebooksBack, rotated, rotatedBack, rotationOnto } from './rotation.ts'
export type { Rotation } from './rotation.ts'
export { fitRqVae, rqVaeDefaults } from './rq-vae.ts'
export type { RqVaeFit, RqVaeOptions, RqVaeProgress } from './rq-vae.ts'

// Features made of codes.
export { prefixIndex, prefixNgrams } from './prefix-ngrams.ts'
export type { PrefixNgramOptions, PrefixNgrams } from './prefix-ngrams.ts'
export { levelOffsets, levelTokens, parseSemanticId, semanticIdText } from './level-tokens.ts'

// Collisions.
export { resolveCollisions } from './collisions.ts'
export type { CollisionInput, CollisionOptions, CollisionReport, MovedItem, Resolution } from './collisions.ts'
export { withSuffix } from './suffix-level.ts'
export type { SuffixedCodes } from './suffix-level.ts'

// Judging.
export { prefixOrder } from './buckets.ts'
export type { PrefixOrder } from './buckets.ts'
export { qualityReport } from './quality.ts'
export type { AssignmentInput, QualityInput, QualityOptions, QualityReport } from './quality.ts'
export type { DuplicateFigures, Figures, PrefixFigures } from './quality-figures.ts'
export type { QualityRow, QualityScope } from './quality-rows.ts'
export { sliceDefaults, sliceNames, slicesByTraffic } from './quality-slices.ts'
export type { PerSlice, Slice, SliceName, SliceOptions } from './quality-slices.ts'
export { neighborDefaults } from './neighbor-hits.ts'
export type { NeighborOptions } from './neighbor-hits.ts'
export type { ItemLabels } from './quality-prefixes.ts'
export { qualityColumns, qualityTable } from './quality-table.ts'
export { qualityGate, qualityGateReason } from './quality-gate.ts'
export type { QualityGateRow, QualityGateRule, QualityGateRules } from './quality-gate.ts'
export { idSpace, idSpaceDefaults } from './id-space.ts'
export type { FirstCodeMove, IdSpace, IdSpaceInput, IdSpaceNode, IdSpaceOptions } from './id-space.ts'
export { churn } from './churn.ts'
export type { ChurnReport } from './churn.ts'
export { usage } from './quality-usage.ts'
export type { LevelUsage, UsageReport } from './quality-usage.ts'
export { reconstruction } from './quality-distortion.ts'
export type { ReconstructionReport } from './quality-distortion.ts'
export { duplicates } from './quality-duplicates.ts'
export type { DuplicateReport } from './quality-duplicates.ts'
