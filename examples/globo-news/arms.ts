/** The arms of `eval.ts`: what is compared on the globo-news test day. */
import { halfWhiten, modalityStatistics } from '../../distill/index.ts'
import { centered, reference } from './protocol.ts'
import type { Arm } from './protocol.ts'

const raw: Arm = {
  name: 'raw, not centered',
  reference: reference.raw,
  seeds: [0],
  vectors: ({ vectors, dim }) => ({ vectors, dim }),
}

const baseline: Arm = {
  name: 'raw, centered on warm articles (baseline)',
  reference: reference.centered,
  seeds: [0],
  vectors: (globo) => ({ vectors: centered(globo), dim: globo.dim }),
}

const halfWhitened: Arm = {
  name: 'raw, half-whitened on warm articles',
  reference: reference.halfWhitened,
  seeds: [0],
  vectors: ({ vectors, dim, warm }) => {
    const isWarm = vectors.filter((_, at) => warm[Math.floor(at / dim)] === 1)
    return { vectors: halfWhiten(modalityStatistics({ name: 'text', dim }, isWarm), vectors), dim }
  },
}

export const arms: readonly Arm[] = [raw, baseline, halfWhitened]
