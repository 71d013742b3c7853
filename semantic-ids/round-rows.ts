/** How many of the rows a round of a level looks at: early rounds only find out roughly where codewords belong. */

/** Rows per code below which codewords would follow single rows. */
const leastRowsPerCode = 64
/** Least rounds over all rows. */
const leastWholeRounds = 2

/**
 * Half of the rows in the first two thirds of the rounds, all in the rest and in the last two at least. Rows stand in random (hash)
 * order, so the first ones are a sample.
 * @param round - 0-based, of at most `rounds`
 * @param size - codes of the level
 */
export function rowsOfRound(round: number, rounds: number, rows: number, size: number): number {
  const wholeRounds = Math.max(leastWholeRounds, Math.ceil(rounds / 3))
  if (rounds - round <= wholeRounds) return rows
  return Math.min(rows, Math.max(Math.ceil(rows / 2), size * leastRowsPerCode))
}
