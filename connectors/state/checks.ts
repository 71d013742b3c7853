/** What every state driver refuses before it changes anything. */

import { SidestreamError } from '../../schemas/index.ts'
import type { StateCommit } from './state.ts'

/** Longest key or position name, bytes of UTF-8. */
const longestKeyBytes = 1900

/** @throws SIDESTREAM_USAGE_INVALID for a key that is empty or too long, or a negative position; nothing was changed then */
export function checkCommit({ puts = [], deletes = [], positions = [] }: StateCommit): void {
  for (const [key] of puts) checkKey(key)
  for (const key of deletes) checkKey(key)
  for (const [name, next] of positions) {
    checkKey(name)
    if (next < 0n || next >= 1n << 64n) throw invalid(`position ${next} of ${JSON.stringify(name)} is no offset`)
  }
}

function checkKey(key: string): void {
  if (key.length === 0 || (key.length * 3 > longestKeyBytes && Buffer.byteLength(key) > longestKeyBytes)) {
    throw invalid(`a state key must be 1 to ${longestKeyBytes} bytes of UTF-8, not ${Buffer.byteLength(key)}`)
  }
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
