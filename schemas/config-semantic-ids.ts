/**
 * The group of `sidestream.yaml` about semantic IDs.
 * Invariant: objects are strict, and every option says its meaning and what raising it costs.
 */
import { z } from 'zod'
import { configDefaults as defaults } from './config-defaults.ts'
import { count, name, option, share } from './config-option.ts'
import type { DeepReadonly } from './config-option.ts'
import type { Problem } from './problems.ts'

export const semanticIds = z
  .strictObject({
    view: option(
      name.nullable(),
      defaults.semanticIds.view,
      'The view whose published vectors are quantized; null: the first one under `views`.',
    ),
    levels: option(
      z.array(count.min(2).max(65_536)).min(1).max(16),
      defaults.semanticIds.levels,
      'Codes per level, first level first. More codes or levels: finer IDs, more items needed, slower fit.',
      'codes',
    ),
    normalize: option(z.boolean(), defaults.semanticIds.normalize, 'Whether vectors are brought to unit length before they are quantized.'),
    iterations: option(
      count.max(1000),
      defaults.semanticIds.iterations,
      'Rounds of k-means per level. Higher: slower fit, slightly less distortion.',
      'rounds',
    ),
    rowsPerCode: option(
      count.max(10_000),
      defaults.semanticIds.rowsPerCode,
      'Items wanted per code of the largest level before the first codebooks are fitted. Higher: a later first version, better first codebooks.',
      'items',
    ),
    churnBudget: option(
      share,
      defaults.semanticIds.churnBudget,
      'Largest share of items whose semantic ID may change in a refresh. Higher: less distortion, more churn for consumers.',
    ),
    churnBudgetFirstCode: option(
      share.nullable(),
      defaults.semanticIds.churnBudgetFirstCode,
      'Largest share of items whose first code may change in a refresh, beside `churnBudget`; null: no bound of its own. Higher: less distortion, more churn.',
    ),
    churnBudgetPrefixes: option(
      z.array(share.nullable()).min(1).max(16).nullable(),
      defaults.semanticIds.churnBudgetPrefixes,
      'Largest share of items any of whose first 1, 2, … codes may change in a refresh, one bound per length, a null for no bound; null: none at all. For models that key on prefixes. Higher: less distortion, more churn.',
    ),
    churnBudgetLevels: option(
      z.array(share.nullable()).min(1).max(16).nullable(),
      defaults.semanticIds.churnBudgetLevels,
      'Largest share of items whose code of each level may change in a refresh, first level first, a null for no bound; null: none at all. For models that key on single codes. Higher: less distortion, more churn.',
    ),
    churnBudgetTraffic: option(
      share.nullable(),
      defaults.semanticIds.churnBudgetTraffic,
      'Largest share of traffic whose items may change their semantic ID in a refresh: items weigh as many positive interactions as they had in the last `refresh.everyMs`, or in two `refresh.evalWindowMs` if that is longer; null: no bound. Higher: less distortion, more churn.',
    ),
    distortionCeiling: option(
      z.number().min(1),
      defaults.semanticIds.distortionCeiling,
      'Most distortion after a refresh, relative to a free fit on the same vectors. Above it the refresh is refused instead of letting IDs decay silently: raise the churn budget or this ceiling, or declare a re-base (`idSpace`). Higher: refused less often, IDs describe items less well.',
    ),
    idSpace: option(
      name.nullable(),
      defaults.semanticIds.idSpace,
      'Name of the space that IDs are comparable in; null: that of the first codebooks. Another name than the live one declares a re-base: the next refresh fits anew, by `levels` as they are then, and IDs before and after cannot be compared.',
    ),
    relabel: option(
      z.enum(['none', 'first', 'all']),
      defaults.semanticIds.relabel,
      'Whether a re-base renames codes so that most items keep the old code of the first level, or of every level on its own. Nearly all whole IDs change all the same.',
    ),
    seed: option(
      z.int().min(0).max(0xffff_ffff).nullable(),
      defaults.semanticIds.seed,
      'Seed of the k-means start; null: the seed of the project.',
    ),
  })
  .prefault({})
  .meta({ description: 'Residual-quantized semantic IDs.' })

/** What makes no sense together. */
export function semanticIdConflicts(group: DeepReadonly<z.output<typeof semanticIds>>): Problem[] {
  const problems: Problem[] = []
  for (const key of ['churnBudgetPrefixes', 'churnBudgetLevels'] as const) {
    const bounds = group[key]?.length ?? 0
    if (bounds > group.levels.length)
      problems.push({
        path: `semanticIds.${key}`,
        message: `must have at most one bound for each of the ${group.levels.length} levels (got ${bounds})`,
      })
  }
  return problems
}
