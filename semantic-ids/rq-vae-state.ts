/**
 * An RQ-VAE's training under way as plain bytes: weights, moments and running means after a step.
 * Invariant: a training that goes on from these bytes ends with the bytes of one that was never interrupted.
 */

import { z } from 'zod'
import { tensor, type Tensor } from '../compute/index.ts'
import { corruptBytes, otherState, packArrays, typeOf, unpackArrays, type ByteFormat, type Numbers } from './array-bytes.ts'

export interface RqVaeState {
  /** Of the rows and options; another training's state is refused. */
  readonly fingerprint: string
  /** Steps done. */
  readonly step: number
  /** Codes given rows so far. */
  readonly revived: number
  readonly state: Readonly<Record<string, Tensor>>
}

const byteFormat: ByteFormat = { magic: 'SSRQ', format: 1, what: 'state of an RQ-VAE' }
const count = z.int().min(0)
const aboutSchema = z.object({
  fingerprint: z.string(),
  step: count,
  revived: count,
  tensors: z.array(z.object({ name: z.string(), dims: z.array(count) })),
})

export function rqVaeStateToBytes({ state, ...about }: RqVaeState): Uint8Array {
  const entries = Object.entries(state)
  const tensors = entries.map(([name, { dims }]) => ({ name, dims: [...dims] }))
  return packArrays(
    byteFormat,
    { ...about, tensors } satisfies z.infer<typeof aboutSchema>,
    entries.map(([, { data }]) => data as Numbers),
  )
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT; SIDESTREAM_USAGE_INVALID for the state of another training */
export function rqVaeStateFromBytes(bytes: Uint8Array, fingerprint: string): RqVaeState {
  const { about, arrays } = unpackArrays(byteFormat, bytes, aboutSchema)
  if (about.fingerprint !== fingerprint) throw otherState()
  const state: Record<string, Tensor> = {}
  for (const [index, { name, dims }] of about.tensors.entries()) {
    const data = arrays[index]
    if (data === undefined) throw corruptBytes(byteFormat.what, `tensor ${name} is missing`)
    state[name] = tensor(typeOf(data), dims, data as never)
  }
  const { step, revived } = about
  return { fingerprint, step, revived, state }
}
