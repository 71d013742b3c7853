/**
 * The table of all operations. A test walks it and compares every gradient with central differences, so an operation
 * that is here is checked.
 * Invariant: one operation per file; its name here is the name of the `Graph` method.
 */

import type { AnyOp } from '../op.ts'
import { add } from './add.ts'
import { and } from './and.ts'
import { argMax } from './arg-max.ts'
import { argMin } from './arg-min.ts'
import { cast } from './cast.ts'
import { clip } from './clip.ts'
import { concat } from './concat.ts'
import { div } from './div.ts'
import { equal } from './equal.ts'
import { exp } from './exp.ts'
import { expandLike } from './expand-like.ts'
import { gather } from './gather.ts'
import { gelu } from './gelu.ts'
import { identity } from './identity.ts'
import { l2norm } from './l2norm.ts'
import { layerNorm } from './layer-norm.ts'
import { less } from './less.ts'
import { logSoftmax } from './log-softmax.ts'
import { logSumExp } from './log-sum-exp.ts'
import { log } from './log.ts'
import { matmul } from './matmul.ts'
import { mul } from './mul.ts'
import { neg } from './neg.ts'
import { not } from './not.ts'
import { or } from './or.ts'
import { reduceMax } from './reduce-max.ts'
import { reduceMean } from './reduce-mean.ts'
import { reduceSum } from './reduce-sum.ts'
import { relu } from './relu.ts'
import { reshapeLike } from './reshape-like.ts'
import { reshape } from './reshape.ts'
import { scatterAdd } from './scatter-add.ts'
import { scatterRows } from './scatter-rows.ts'
import { sigmoid } from './sigmoid.ts'
import { slice } from './slice.ts'
import { softmax } from './softmax.ts'
import { sqrt } from './sqrt.ts'
import { squeeze } from './squeeze.ts'
import { stopGradient } from './stop-gradient.ts'
import { sub } from './sub.ts'
import { tanh } from './tanh.ts'
import { transpose } from './transpose.ts'
import { unsqueeze } from './unsqueeze.ts'
import { where } from './where.ts'

export const opTable = {
  add,
  and,
  argMax,
  argMin,
  cast,
  clip,
  concat,
  div,
  equal,
  exp,
  expandLike,
  gather,
  gelu,
  identity,
  l2norm,
  layerNorm,
  less,
  logSoftmax,
  logSumExp,
  log,
  matmul,
  mul,
  neg,
  not,
  or,
  reduceMax,
  reduceMean,
  reduceSum,
  relu,
  reshapeLike,
  reshape,
  scatterAdd,
  scatterRows,
  sigmoid,
  slice,
  softmax,
  sqrt,
  squeeze,
  stopGradient,
  sub,
  tanh,
  transpose,
  unsqueeze,
  where,
} as const satisfies Record<string, AnyOp>

export type OpName = keyof typeof opTable

/** Whether gradients pass the operation. */
export function isDifferentiable(name: OpName): boolean {
  return opTable[name].gradient !== 'stops'
}
