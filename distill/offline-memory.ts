/**
 * What an offline run needs in memory, and whether there is as much: said while it reads, before a process that has used up its
 * memory is ended without a word. Figures: `docs/scaling.md`, measured with `npm run bench -- distill-memory`.
 */

import { limits, SidestreamError } from '../schemas/index.ts'

/** Bytes that a process may use. */
export interface OfflineMemory {
  /** Of V8's heap: ids, histories and samples. */
  readonly heapBytes: number
  /** Of everything. */
  readonly totalBytes: number
}

/** What has been read so far. */
export interface OfflineSize {
  readonly interactions: number
  readonly users: number
  readonly items: number
  /** Numbers of content vectors. */
  readonly numbers: number
}

/** Heap of the program itself, with the rows that are being read, bytes. */
const program = 50_000_000
/** Heap of an interaction that gives a sample, and of an item without its numbers, bytes. */
const perInteraction = 330
const perItem = 900
/** A number as it was read, and in what is compared when a head is judged: raw content, and published vectors of about its size. */
const perNumber = 12

/** @throws SIDESTREAM_INPUT_TOO_LARGE */
export function requireMemory({ interactions, users, items, numbers }: OfflineSize, { heapBytes, totalBytes }: OfflineMemory): void {
  const heap = program + perInteraction * interactions + perItem * items
  const read = `${interactions} interactions of ${users} users and ${items} items`
  const advice = 'give fewer, such as the newest, or train with the daemon (`run`), which holds one round'
  if (Math.max(users, items) > limits.offlineIds) throw tooLarge(`${read}: more than ${limits.offlineIds} ids; ${advice}`)
  if (heap > heapBytes) {
    const option = `NODE_OPTIONS=--max-old-space-size=${Math.ceil(heap / 1e6) * 2}`
    throw tooLarge(`${read} so far need a heap of ${gigabytes(heap)}, and Node allows ${gigabytes(heapBytes)}: set ${option}, or ${advice}`)
  }
  const total = heap + perNumber * numbers
  if (total > totalBytes)
    throw tooLarge(
      `${read} so far need ${gigabytes(total)}, and there are ${gigabytes(totalBytes)} of memory: take a larger machine, or ${advice}`,
    )
}

function tooLarge(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_INPUT_TOO_LARGE', message)
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toPrecision(2)} GB`
}
