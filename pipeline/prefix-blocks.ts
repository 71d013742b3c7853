/** Matryoshka blocks of published vectors: what may be rotated apart so that every prefix stays one. */

import { headLayout } from '../distill/index.ts'
import type { Head } from '../distill/index.ts'
import type { EmbeddedView } from './embedder.ts'

/** Ends of the blocks up to a prefix, ascending; none where the head does not have it. */
export function prefixEnds({ spec }: Head, prefix: EmbeddedView['prefix'] | undefined): readonly number[] {
  return headLayout(spec).ends.slice(0, spec.prefixes.findIndex((own) => own === prefix) + 1)
}

/** Ends of the blocks that two heads have in vectors of `dim` dims; one block where they are cut at other places. */
export function commonEnds(old: readonly number[], next: readonly number[], dim: number): readonly number[] {
  return old.join() === next.join() && old.at(-1) === dim ? old : [dim]
}
