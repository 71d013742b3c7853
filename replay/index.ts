/**
 * What data scientists read: metrics of score columns, charts and the pages they stand on. Knows nothing of logs or stores.
 * @module
 */
export { exactAuc, logLoss } from './auc.ts'
export type { AucResult, LogLossResult } from './auc.ts'
export { aucReport } from './score-columns.ts'
export type { AucReport, ScoreColumns, ScoreMetrics } from './score-columns.ts'
export { chartDefaults, palette } from './chart-svg.ts'
export type { ChartFrame } from './chart-svg.ts'
export { barChart, heatStrip, histogram, lineChart, scatterChart, usageChart } from './charts.ts'
export type { Axis, BarChart, HeatStrip, Histogram, LineChart, PointSeries, ReferenceLine, ScatterChart, UsageChart } from './charts.ts'
export { formatNumber } from './number-text.ts'
export { htmlPage } from './page.ts'
export type { Block, Chart, Figure, Page, Section, Table } from './page.ts'
