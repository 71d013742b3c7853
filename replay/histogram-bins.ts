/** Bins of a histogram. Invariant: every finite value is counted once; edges ascend. */

/** `counts[i]` values lie from `edges[i]` to `edges[i + 1]`; the last bin includes its upper edge. */
export interface Bins {
  readonly edges: Float64Array
  readonly counts: Float64Array
}

/**
 * Counts values in bins of equal width.
 * @param values - NaN and infinities are left out
 * @param bins - number of bins, at least 1
 * @param isLog - equal ratios instead of equal widths; values of 0 and below fall into the first bin
 */
export function binValues(values: ArrayLike<number>, bins: number, isLog: boolean): Bins {
  let least = Infinity
  let most = -Infinity
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (!Number.isFinite(value) || (isLog && value <= 0)) continue
    if (value < least) least = value
    if (value > most) most = value
  }
  if (least > most) [least, most] = isLog ? [1, 10] : [0, 1]
  if (least === most) [least, most] = isLog ? [least / 2 || least, Math.min(most * 2, Number.MAX_VALUE)] : [least - 0.5, most + 0.5]
  const low = isLog ? Math.log(least) : least
  const width = ((isLog ? Math.log(most) : most) - low) / bins
  const edges = new Float64Array(bins + 1)
  for (let i = 0; i <= bins; i++) edges[i] = isLog ? Math.exp(low + i * width) : low + i * width
  edges[0] = least
  edges[bins] = most
  const counts = new Float64Array(bins)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (!Number.isFinite(value)) continue
    const place = isLog ? (value <= 0 ? 0 : Math.log(value) - low) : value - low
    counts[Math.min(bins - 1, Math.max(0, Math.floor(place / width)))]!++
  }
  return { edges, counts }
}

/** Ticks 1, 2, 5 times powers of ten within [least, most], for log axes that span little. Both above 0. */
export function logTicks(least: number, most: number): number[] {
  const ticks: number[] = []
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    for (const factor of [1, 2, 5]) {
      const tick = Number(`${factor}e${power}`)
      if (tick >= least * (1 - 1e-9) && tick <= most * (1 + 1e-9)) ticks.push(tick)
    }
  }
  return ticks.length > 12 ? ticks.filter((tick) => Number.isInteger(Math.round(Math.log10(tick) * 1e9) / 1e9)) : ticks
}
