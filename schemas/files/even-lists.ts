/** Lists of one length, such as vectors and codes, as flat numbers: what a file is read into where it allows it. */

/** Rows of equal length. */
export interface EvenLists {
  /** Numbers of each row. */
  readonly width: number
  /** Row-major, shape [rows, width]. */
  readonly values: Int32Array | Float32Array | Float64Array
}

/** A row as the general reader gives it. */
export function rowOf({ width, values }: EvenLists, row: number): number[] {
  return Array.from(values.subarray(row * width, (row + 1) * width))
}
