/** What every store driver refuses before it touches anything: names, versions, ids and values that have no source. */

import { SidestreamError, limits, valueHeader } from '../../schemas/index.ts'
import type { StoreEntry, StoreTarget } from './store.ts'

const name = /^[a-z0-9_-]{1,64}$/
/** UTF-16 units that can never pass `limits.idBytes`, whatever they are: at most three bytes each. */
const safeIdUnits = Math.floor(limits.idBytes / 3)

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkProject(project: string): void {
  if (!name.test(project)) throw invalid(`project ${JSON.stringify(project)} must match [a-z0-9_-]{1,64}`)
}

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkVersion(version: number): void {
  if (!Number.isSafeInteger(version) || version < 1) throw invalid(`version must be a whole number >= 1, not ${version}`)
}

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkTarget({ project, view, version }: StoreTarget): void {
  checkProject(project)
  if (!name.test(view)) throw invalid(`view ${JSON.stringify(view)} must match [a-z0-9_-]{1,64}`)
  checkVersion(version)
}

/** Ids of commands and of pin holders. @throws SIDESTREAM_USAGE_INVALID */
export function checkLabel(what: string, label: string): void {
  if (label.length === 0 || Buffer.byteLength(label) > limits.idBytes || label.includes('\0')) {
    throw invalid(`${what} must be 1 to ${limits.idBytes} bytes without a zero byte`)
  }
}

/** @throws SIDESTREAM_USAGE_INVALID for an id that `schemas` would have refused, or a value without a whole header */
export function checkEntries(entries: readonly StoreEntry[]): void {
  for (const { id, value } of entries) {
    if (id.length === 0 || (id.length > safeIdUnits && Buffer.byteLength(id) > limits.idBytes)) {
      throw invalid(`an id must be 1 to ${limits.idBytes} bytes of UTF-8, not ${Buffer.byteLength(id)}`)
    }
    if (value.length < valueHeader.bytes) {
      throw invalid(`the value of ${JSON.stringify(id)} has ${value.length} bytes; a value starts with a header of ${valueHeader.bytes}`)
    }
  }
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
