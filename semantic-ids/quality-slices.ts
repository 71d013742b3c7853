/**
 * Items by popularity: head, torso and tail by their share of the traffic.
 * Invariant: items with equal traffic stand in one slice, so the order of items changes nothing.
 */

import { SidestreamError } from '../schemas/index.ts'

export const sliceNames = ['head', 'torso', 'tail'] as const
export type SliceName = (typeof sliceNames)[number]
/** A slice, or everything. */
export type Slice = 'all' | SliceName

/** Something of everything, and of each slice where there are any. */
export type PerSlice<T> = Readonly<Partial<Record<Slice, T>>> & { readonly all: T }

export interface SliceOptions {
  /** Share of the traffic that the head holds: an item is in it while the items above it hold less. @default 0.5 */
  readonly head: number
  /** Share of the traffic that head and torso hold. @default 0.9 */
  readonly torso: number
}

export const sliceDefaults: Readonly<SliceOptions> = { head: 0.5, torso: 0.9 }

/**
 * Slice of every item: index into `sliceNames`. The tail holds what is left, items without traffic among them.
 * @param traffic - at least 0, shape [items]
 * @returns shape [items]; undefined where there is no traffic at all
 * @throws SIDESTREAM_USAGE_INVALID for traffic that is negative or not finite, and shares out of order
 */
export function slicesByTraffic(traffic: Float64Array, options: Partial<SliceOptions> = {}): Uint8Array | undefined {
  const { head, torso } = { ...sliceDefaults, ...options }
  if (!(head > 0 && head < torso && torso < 1)) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `slices need 0 < head < torso < 1, got head ${head} and torso ${torso}`)
  }
  const bad = traffic.findIndex((value) => !(value >= 0 && value < Infinity))
  if (bad >= 0) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `item ${bad} has traffic ${traffic[bad]}; it must be a number of at least 0`)
  }
  const ascending = traffic.slice().sort()
  const total = ascending.reduce((sum, value) => sum + value, 0)
  if (total === 0) return undefined
  // Least traffic of an item of the head and of the torso.
  let [headFloor, torsoFloor] = [Infinity, Infinity]
  let above = 0
  for (let i = ascending.length - 1; i >= 0;) {
    const value = ascending[i]!
    if (above < head * total) headFloor = value
    if (above < torso * total) torsoFloor = value
    for (; i >= 0 && ascending[i] === value; i--) above += value
  }
  const slices = new Uint8Array(traffic.length)
  for (let item = 0; item < slices.length; item++) slices[item] = traffic[item]! >= headFloor ? 0 : traffic[item]! >= torsoFloor ? 1 : 2
  return slices
}

/** Rows of a slice, ascending. */
export function rowsOfSlice(slices: Uint8Array, slice: number): Uint32Array {
  let count = 0
  for (let row = 0; row < slices.length; row++) if (slices[row] === slice) count++
  const rows = new Uint32Array(count)
  for (let row = 0, to = 0; row < slices.length; row++) if (slices[row] === slice) rows[to++] = row
  return rows
}

/** 1 for the rows of a slice, shape [items]. */
export function maskOfSlice(slices: Uint8Array, slice: number): Uint8Array {
  const mask = new Uint8Array(slices.length)
  for (let row = 0; row < slices.length; row++) if (slices[row] === slice) mask[row] = 1
  return mask
}
