/** What has to be said of a fit beside its figures. */

/** Rows per code with which no code stays empty. */
const rowsPerCode = 39

export interface FitCounts {
  readonly items: number
  /** Rows that codewords were fitted on. */
  readonly rows: number
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** How many of these have codewords: a finite-scalar level is not fitted to rows. */
  readonly fitted: number
  readonly fvu: number
  /** Whether a network stands before the codebooks. */
  readonly network: boolean
}

/** Levels with fewer items than codes or few rows per code, and a network that is worse than none; each a sentence. */
export function fitNotes({ items, rows, sizes, fitted, fvu, network }: FitCounts): string[] {
  const levelsOf = (applies: (size: number, level: number) => boolean, text: (size: number) => string): string =>
    sizes.flatMap((size, level) => (applies(size, level) ? [`level ${level + 1}: ${text(size)}`] : [])).join('; ')
  const spare = levelsOf(
    (size) => size > items,
    (size) => `${items} items for ${size} codes`,
  )
  const thin = levelsOf(
    (size, level) => level < fitted && size > 1 && size <= items && rows < rowsPerCode * size,
    (size) => `${rows} rows for ${size} codes, ${Number((rows / size).toPrecision(2))} each`,
  )
  const remedy =
    rows < items ? 'fit on more of them (--sample-rows-per-code), or take smaller levels' : 'take smaller levels, or more items'
  return [
    ...(spare === '' ? [] : [`fewer items than codes, the spare codes stay empty (${spare})`]),
    ...(thin === '' ? [] : [`fewer than ${rowsPerCode} rows per code, so a codeword stands for few of them (${thin}): ${remedy}`]),
    ...(network && fvu > 1
      ? [`FVU above 1: the network gives items back worse than the mean of all would; train longer (--epochs), do not use these IDs`]
      : []),
  ]
}
