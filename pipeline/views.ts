/** The views of a configuration as the embedder and version records name them. */

import { viewDims } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { EmbeddedView } from './embedder.ts'

export function embeddedViews(config: Config): EmbeddedView[] {
  return Object.entries(config.views).map(([name, { dtype }]) => ({ name, prefix: viewDims(config, name).distilled, dtype }))
}
