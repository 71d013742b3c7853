/** The arms of `eval.ts`: what is compared on the globo-news test day. */
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

export const arms: readonly Arm[] = [raw, baseline]
