/** The figures of a report as columns of a file. Invariant: columns are only ever added. */

import type { ParquetColumn } from '../schemas/index.ts'
import type { QualityRow } from './quality-rows.ts'

/** Columns of the tidy table, as `writeParquet` takes them. */
export const qualityColumns: readonly ParquetColumn[] = [
  { name: 'figure', type: 'string' },
  { name: 'scope', type: 'string' },
  { name: 'level', type: 'int32', optional: true },
  { name: 'prefix', type: 'int32', optional: true },
  { name: 'slice', type: 'string' },
  { name: 'metric', type: 'string' },
  { name: 'value', type: 'double', optional: true },
  { name: 'shared', type: 'double', optional: true },
  { name: 'before', type: 'double', optional: true },
  { name: 'delta', type: 'double', optional: true },
  { name: 'support', type: 'int32' },
  { name: 'better', type: 'string', optional: true },
]

/** Rows as columns of `qualityColumns`; null becomes undefined, which a file has as null. */
export function qualityTable(rows: readonly QualityRow[]): Record<keyof QualityRow, unknown[]> {
  const columns = qualityColumns.map(({ name }) => {
    const key = name as keyof QualityRow
    return [key, rows.map((row) => row[key] ?? undefined)] as const
  })
  return Object.fromEntries(columns) as Record<keyof QualityRow, unknown[]>
}
