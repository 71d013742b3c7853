/** The library of matrix decompositions, loaded with the first one: most processes make none, and loading it takes 50 ms. */

import { createRequire } from 'node:module'
import type * as MlMatrix from 'ml-matrix'

const load = createRequire(import.meta.url)

/** ml-matrix. */
export function mlMatrix(): typeof MlMatrix {
  return load('ml-matrix') as typeof MlMatrix
}
