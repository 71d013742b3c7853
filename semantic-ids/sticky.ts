/** The wish to keep IDs as they were. */

/** The parent's codes of a batch and what it costs to leave them. */
export interface Sticky {
  /** Row-major, shape [rows, levels]; -1 in the first place of a row that has no parent's codes. */
  readonly old: Int32Array
  /**
   * How much farther (relative, squared distance) the old code may be before the item leaves it; `Infinity` never leaves.
   * Higher: fewer changed IDs, more distortion.
   */
  readonly delta: number
}
