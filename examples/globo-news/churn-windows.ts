/** Windows of clicks, the heads that are trained on them, and the vectors that these give. */
import { HeadEncoder } from '../../distill/index.ts'
import type { Head } from '../../distill/index.ts'
import { trainHead } from '../training.ts'
import type { Globo } from './protocol.ts'
import { globoSetup } from './setup.ts'

export interface Window {
  readonly from: number
  readonly until: number
}

/** A head and the distilled vectors of all items by it, row-major float32, unit length. */
export interface HeadVectors {
  readonly head: Head
  readonly vectors: Float32Array
}

/** Windows of equally many clicks, one after another, from a time on. */
export function windowsFrom({ clicks: { times } }: Globo, from: number, clicks: number, count: number): Window[] {
  let at = times.findIndex((time) => time >= from)
  const windows: Window[] = []
  for (let i = 0; i < count; i++) {
    const until = times[Math.min(times.length - 1, at + clicks)]!
    windows.push({ from: times[at]!, until })
    at = times.findIndex((time) => time >= until)
  }
  return windows
}

/** A head trained from scratch, its statistics those of the items that are there at the window's end. */
export async function fromScratch(globo: Globo, window: Window, seed: number): Promise<HeadVectors> {
  return withVectors(globo, await trainHead(globoSetup(globo, window), seed))
}

/** The head goes on from another: a fifth of the rate, half of the passes. */
export async function warmStarted(globo: Globo, window: Window, seed: number, before: Head): Promise<HeadVectors> {
  const setup = globoSetup(globo, window)
  const shorter = { ...setup, learningRate: setup.learningRate / 5, passes: setup.passes / 2, start: () => before }
  return withVectors(globo, await trainHead(shorter, seed))
}

async function withVectors({ itemIds, vectors, dim }: Globo, head: Head): Promise<HeadVectors> {
  const encoder = await HeadEncoder.create(head)
  try {
    const { distilled } = await encoder.encode(itemIds.map((_, i) => ({ text: vectors.subarray(i * dim, (i + 1) * dim) })))
    return { head, vectors: distilled }
  } finally {
    await encoder.close()
  }
}
