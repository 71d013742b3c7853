/**
 * What data scientists read: metrics of score columns, charts and the pages they stand on. Knows nothing of logs or stores.
 * @module
 */
export { exactAuc, logLoss } from './auc.ts'
export type { AucResult, LogLossResult } from './auc.ts'
export { aucReport } from './score-columns.ts'
export type { AucReport, ScoreColumns, ScoreMetrics } from './score-columns.ts'
