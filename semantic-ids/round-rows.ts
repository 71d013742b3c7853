/** How many of the rows a round of a level looks at: early rounds only find out roughly where codewords belong. */

/** Rows per code below which codewords would follow single rows. */
const leastRowsPerCode = 64
/** Least rounds over all rows. */
const leastWholeRounds = 2

/**
 * A quarter of the rows in the first third of the rounds, half in the second, all in the last one and in the last two at least.
 * Rows stand in random (hash) order, so the first ones are a sample.
 * @param round - 0-based, of at most `rounds`
 * @param size - codes of the level
 */
export function rowsOfRound(round: number, rounds: number, rows: number, size: number): number {
  const left = rounds - round
  const whole = Math.max(leastWholeRounds, Math.ceil(rounds / 3))
  if (left <= whole) return rows
  const share = left <= whole + Math.ceil((rounds - whole) / 2) ? 1 / 2 : 1 / 4
  return Math.min(rows, Math.max(Math.ceil(rows * share), size * leastRowsPerCode))
}
