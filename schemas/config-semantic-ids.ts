/**
 * The group of `sidestream.yaml` about semantic IDs.
 * Invariant: objects are strict, and every option says its meaning and what raising it costs.
 */
import { z } from 'zod'
import { configDefaults as defaults, sidGateRuleDefaults } from './config-defaults.ts'
import { count, name, option, share } from './config-option.ts'
import type { DeepReadonly } from './config-option.ts'
import type { Problem } from './problems.ts'
import { sidFigures, sidFigureText } from './sid-figures.ts'

const widths = z.array(count.max(8192)).min(1).max(8)

const rqVae = z
  .strictObject({
    hidden: option(
      widths,
      defaults.semanticIds.rqVae.hidden,
      'Widths of the network between vector and latent vector. Higher: slower training and encoding.',
      'units',
    ),
    latentDim: option(
      count.max(4096),
      defaults.semanticIds.rqVae.latentDim,
      'Dimension that is quantized. Higher: slower, finer codewords.',
      'dims',
    ),
    epochs: option(
      count.max(100_000),
      defaults.semanticIds.rqVae.epochs,
      'Passes over the items. Higher: proportionally longer, less distortion.',
      'passes',
    ),
    batch: option(count.max(65_536), defaults.semanticIds.rqVae.batch, 'Rows of one step. Higher: more memory, fewer steps.', 'rows'),
    learningRate: option(
      z.number().gt(0).max(1),
      defaults.semanticIds.rqVae.learningRate,
      'Peak step size of AdamW. Higher: faster, and less stable; a training that diverges refuses the build.',
    ),
    commitment: option(
      z.number().min(0).max(1000),
      defaults.semanticIds.rqVae.commitment,
      'Weight of the term that holds latent vectors near their codewords. Higher: steadier codes, vectors described less well.',
    ),
    estimator: option(
      z.enum(['straight-through', 'rotation']),
      defaults.semanticIds.rqVae.estimator,
      'How gradients pass the codebooks: as they are, or turned by the rotation from latent vector to codeword.',
    ),
    codebooks: option(
      z.enum(['gradient', 'ema']),
      defaults.semanticIds.rqVae.codebooks,
      'How codewords learn: by gradient, or as running means of their rows.',
    ),
  })
  .prefault({})
  .meta({ description: 'Of `method: rq-vae`.' })

const gateRule = z
  .strictObject({
    min: option(z.number().nullable(), sidGateRuleDefaults.min, 'Least value of the figure; null: none.'),
    max: option(z.number().nullable(), sidGateRuleDefaults.max, 'Largest value of the figure; null: none.'),
    maxLoss: option(
      z.number().min(0).nullable(),
      sidGateRuleDefaults.maxLoss,
      'How much worse than of the live IDs, over the same items, the figure may be; null: however much. Higher: more lenient.',
    ),
  })
  .refine(({ min, max, maxLoss }) => min !== null || max !== null || maxLoss !== null, 'must set `min`, `max` or `maxLoss`')

export const semanticIds = z
  .strictObject({
    view: option(
      name.nullable(),
      defaults.semanticIds.view,
      'The view whose published vectors are quantized; null: the first one under `views`.',
    ),
    method: option(
      z.enum(['rq-kmeans', 'rq-vae']),
      defaults.semanticIds.method,
      'How codebooks are fitted. `rq-kmeans`: residual k-means over the vectors. `rq-vae`: codebooks behind a network that is trained with them (`rqVae`); it cannot be refreshed, so each renewal is a re-base. This and the other options of the quantizer (`levels`, `normalize`, `normalizeResiduals`, `beam`, `balance`, `fsqDigits`, `rqVae`) hold for the first codebooks and from the next re-base on (`idSpace`); until then the log says that the live ones differ.',
    ),
    levels: option(
      z.array(count.min(2).max(65_536)).min(1).max(16),
      defaults.semanticIds.levels,
      'Codes per level, first level first. More codes or levels: finer IDs, more items needed, slower fit.',
      'codes',
    ),
    normalize: option(
      z.boolean(),
      defaults.semanticIds.normalize,
      'Whether vectors are brought to unit length before they are quantized. Of `rq-kmeans`; a network scales its input itself.',
    ),
    normalizeResiduals: option(
      z.boolean(),
      defaults.semanticIds.normalizeResiduals,
      'Of `rq-kmeans`: whether what is left is brought to unit length before every level. Codewords do not add up to the vector then, so such codebooks cannot be refreshed: each renewal is a re-base.',
    ),
    beam: option(
      count.max(256),
      defaults.semanticIds.beam,
      'Of `rq-kmeans`: partial IDs followed from level to level; 1 is greedy. Higher: slower, slightly less distortion.',
      'paths',
    ),
    balance: option(
      z.number().min(0.001).max(10).nullable(),
      defaults.semanticIds.balance,
      'Of `rq-kmeans`: gives codes prices, so that items spread over them; 0.05 is a good value; null: none. Lower: nearer to equal shares, more distinct IDs, more distortion.',
    ),
    fsqDigits: option(
      z.array(count.min(2).max(65_536)).min(1).max(16).nullable(),
      defaults.semanticIds.fsqDigits,
      'Of `rq-kmeans`: one more level behind `levels`, on a fixed grid: values per digit, such as [5, 5, 3]; its codes are their product. It cannot collapse; in a refresh its codes follow from what the others leave, so a bound on whole IDs (`churnBudget`) is kept by freezing them all: leave it null, and bound `churnBudgetPrefixes`. null: no such level.',
      'values',
    ),
    rqVae,
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
    capacity: option(
      count.nullable(),
      defaults.semanticIds.capacity,
      'Most items of one semantic ID at the cut of a build: new items, and those that leave their ID, take the nearest last code with room; who keeps a published ID never moves. Items that come after the cut are encoded freely, until the next build. null: no bound. Lower: more distinct IDs, more distortion.',
      'items',
    ),
    duplicates: option(
      z.enum(['together', 'split']),
      defaults.semanticIds.duplicates,
      'Of `capacity`: whether items of one ID with one and the same vector take one place and move together, or take a place each. An item that comes between two builds is encoded freely, so its ID may differ from that of an older item with its vector.',
    ),
    churnBudget: option(
      share.nullable(),
      defaults.semanticIds.churnBudget,
      'Largest share of items whose semantic ID may change in a refresh; null: 0.1, where the live IDs have a finite-scalar level (`fsqDigits`) 0.1 of the prefix in front of it and no bound on whole IDs, unless `churnBudgetPrefixes` says something (a null, too) of that prefix. Higher: less distortion, more churn for consumers.',
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
    rotate: option(
      z.enum(['none', 'blocks', 'whole']),
      defaults.semanticIds.rotate,
      'Whether a refresh with another head first rotates the live codebooks to where that head puts the items of the cut: `blocks`, one rotation per prefix of the view (`head.prefixes`) that both heads have; `whole`, one over all dims, which fits better and mixes the prefixes. Codes with items are refitted in any case; codes without, and the grid of a finite-scalar level, come along by this alone.',
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
    gate: option(
      z.record(z.string(), gateRule),
      defaults.semanticIds.gate,
      `Thresholds on figures of the new IDs over all items of the cut, such as \`uniqueRate: { min: 0.7 }\` or \`level1.dead: { max: 0 }\`. A build outside any of them is refused with figure and bound (exit code 3); with \`guard.mode: report\` it is only told. What compares with live IDs (\`maxLoss\`, churn) is not judged of first codebooks, churn not of a re-base either. Figures: ${sidFigureText} (\`docs/reference/semantic-id-report.md\`). Purity takes labels in the content; hits are measured when a threshold asks for them, which grows with the items.`,
    ),
    seed: option(
      z.int().min(0).max(0xffff_ffff).nullable(),
      defaults.semanticIds.seed,
      'Seed of the k-means start; null: the seed of the project.',
    ),
  })
  .prefault({})
  .meta({ description: 'Residual-quantized semantic IDs.' })

/**
 * What makes no sense together.
 * @param dim - of the vectors that are quantized; undefined where the view is not known
 */
export function semanticIdConflicts(group: DeepReadonly<z.output<typeof semanticIds>>, dim: number | undefined): Problem[] {
  const { method, levels, fsqDigits, beam, normalizeResiduals, rotate } = group
  const problems: Problem[] = []
  const report = (key: string, message: string): void => void problems.push({ path: `semanticIds.${key}`, message })
  if (method === 'rq-vae') {
    for (const key of ['normalizeResiduals', 'beam', 'balance', 'fsqDigits'] as const)
      if (group[key] !== defaults.semanticIds[key])
        report(key, `belongs to \`method: rq-kmeans\`; a network learns its own space: leave it out (got ${JSON.stringify(group[key])})`)
  } else if (beam > 1 && normalizeResiduals)
    report('beam', `must be 1 with \`normalizeResiduals\`: errors of residuals at unit length do not add up (got ${beam})`)
  if (rotate !== 'none' && (method === 'rq-vae' || normalizeResiduals))
    report(
      'rotate',
      `must be none with ${method === 'rq-vae' ? '`method: rq-vae`' : '`normalizeResiduals`'}: such codebooks are re-based, not refreshed (got ${rotate})`,
    )
  if (fsqDigits !== null) {
    const codes = fsqDigits.reduce((product, values) => product * values, 1)
    if (codes > mostCodes) report('fsqDigits', `must multiply to at most ${mostCodes} codes (got ${fsqDigits.join(' x ')} = ${codes})`)
    if (dim !== undefined && fsqDigits.length > dim)
      report('fsqDigits', `must be at most one for each of the ${dim} dims of the view (got ${fsqDigits.length})`)
  }
  const all = levels.length + (fsqDigits === null ? 0 : 1)
  for (const key of ['churnBudgetPrefixes', 'churnBudgetLevels'] as const) {
    const bounds = group[key]?.length ?? 0
    if (bounds > all) report(key, `must have at most one bound for each of the ${all} levels (got ${bounds})`)
  }
  return [...problems, ...gateConflicts(group.gate, all)]
}

function gateConflicts(gate: Readonly<Record<string, { readonly maxLoss: number | null }>>, levels: number): Problem[] {
  const known = new Set(sidFigures(levels))
  return Object.entries(gate).flatMap(([figure, { maxLoss }]) => {
    const path = `semanticIds.gate.${figure}`
    if (!known.has(figure)) return [{ path, message: `must be a figure of IDs of ${levels} levels: ${sidFigureText}` }]
    const isChange = figure.startsWith('churn.') && maxLoss !== null
    return isChange ? [{ path: `${path}.maxLoss`, message: 'must be left out: churn is a change already; set `max`' }] : []
  })
}

/** Codes are stored as uint16. */
const mostCodes = 65_536
