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
export type { Axis, ReferenceLine } from './chart-axes.ts'
export { barChart, heatStrip, lineChart, scatterChart, usageChart } from './charts.ts'
export type { BarChart, HeatStrip, LineChart, PointSeries, ScatterChart, UsageChart } from './charts.ts'
export { dotChart } from './dot-chart.ts'
export type { DotChart, DotSeries } from './dot-chart.ts'
export { binnedHistogram, histogram } from './histogram.ts'
export type { Bin, BinnedHistogram, Histogram } from './histogram.ts'
export { laneChart } from './lane-chart.ts'
export type { LaneChart } from './lane-chart.ts'
export { formatNumber } from './number-text.ts'
export { htmlPage } from './page.ts'
export type { Block, Chart, Figure, Page, Section, Table } from './page.ts'
