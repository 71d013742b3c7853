/**
 * The groups of `sidestream.yaml` about learning and judging: sequences, head, views, refresh, guard.
 * Invariant: objects are strict, and every option says its meaning and what raising it costs.
 */
import { z } from 'zod'
import { configDefaults as defaults, gateRuleDefaults } from './config-defaults.ts'
import { count, durationMs, name, option, share } from './config-option.ts'
import { contentFigures, spaceFigures, windowFigures } from './judged-figures.ts'
import { limits } from './limits.ts'

/** Kinds of training rows that are made of a liked item. */
export const sampleSets = ['plain', 'content-single', 'content-multi', 'collaborative-single', 'collaborative-multi'] as const

export const sequences = z
  .strictObject({
    events: option(
      count.max(limits.history),
      defaults.sequences.events,
      'Newest events kept per user. Higher: more disk per user and larger changelog chunks.',
      'events',
    ),
    history: option(
      count.max(limits.history),
      defaults.sequences.history,
      'Items of the history in one sample, newest before the target. Higher: longer training steps.',
      'items',
    ),
    sets: option(
      z
        .array(z.enum(sampleSets))
        .min(1)
        .refine((sets) => new Set(sets).size === sets.length, 'must not name a set twice'),
      defaults.sequences.sets,
      'Which training rows are made of a liked item. `plain`: the newest `history` liked items before it. `content-single`: those with `minKinds` kinds of positive behavior whose content is like its content. `content-multi`: those whose kinds agree with its kinds. `collaborative-single`: both rules on kinds, chosen in proportion to the clusters of the history. `collaborative-multi`: any liked items, chosen in the same way. More sets: proportionally more rows.',
    ),
    candidates: option(
      count.max(limits.history).nullable(),
      defaults.sequences.candidates,
      'Newest liked items that a sample carries for the filters to choose from; null: `history` when `sets` is `plain` alone, else 200. Higher: longer records of distill-samples.',
      'items',
    ),
    minKinds: option(
      count.max(limits.behaviors),
      defaults.sequences.minKinds,
      'Distinct kinds of positive behavior on an item that the single-peak sets ask for. Higher: fewer, surer items.',
      'kinds',
    ),
    jaccard: option(
      share,
      defaults.sequences.jaccard,
      "An item's kinds of positive behavior agree with the target's when their Jaccard index is above this. Higher: fewer items.",
    ),
    contentCut: option(
      z.number().min(-1).max(1).nullable(),
      defaults.sequences.contentCut,
      'Least cosine between the content of an item and of the target in `content-single`; null: found for every round by `contentQuantile`. Higher: fewer items, more alike.',
    ),
    contentQuantile: option(
      share,
      defaults.sequences.contentQuantile,
      'Where `contentCut` is null: share of the pairs of `contentCutFrom` that lie below the cut. Higher: fewer items, more alike.',
    ),
    contentCutFrom: option(
      name.nullable(),
      defaults.sequences.contentCutFrom,
      "Where `contentCut` is null: the source of `training.sources` whose pairs give it, unscored ones of items alike in content; null, or while it has none: the round's pairs of a target and the newest item before it. Pairs made of content (`from: content`) are nearest neighbors and give a high cut; a round finds them once more for it.",
    ),
    clusters: option(
      count.max(100_000),
      defaults.sequences.clusters,
      'Most clusters of items that have no label, for the collaborative sets; an item with labels is in the cluster of its first one. Higher: finer shares, slower rounds.',
      'clusters',
    ),
    minItems: option(
      count.max(limits.history),
      defaults.sequences.minItems,
      'Filtered histories with fewer items make no row. Higher: fewer, better-founded rows.',
      'items',
    ),
  })
  .prefault({})
  .meta({ description: 'Per-user sequences.' })

export const head = z
  .strictObject({
    dim: option(count.max(4096), defaults.head.dim, 'Dimension of the distilled part. Higher: larger values, slower training.', 'dims'),
    prefixes: option(
      z.array(count.max(4096)).min(1).max(16),
      defaults.head.prefixes,
      'Matryoshka prefixes of the distilled part that are trained to stand alone, ascending, the last equal to `dim`. Each adds one loss term.',
      'dims',
    ),
    contentDims: option(
      count.max(limits.dim).nullable(),
      defaults.head.contentDims,
      'Dimension of the content part beside the distilled part, split evenly over modalities; null: as many as `dim`; never more than the modalities have together. Higher: larger values, more of the raw geometry kept.',
      'dims',
    ),
    contentShare: option(
      z.number().min(0).lt(1),
      defaults.head.contentShare,
      'Share of the squared length given to the content part. Higher: safer for cold items, less of what users do.',
    ),
    hidden: option(
      count.max(8192),
      defaults.head.hidden,
      'Width of the hidden layer of each modality. Higher: slower training and encoding.',
      'units',
    ),
  })
  .prefault({})
  .meta({ description: 'The head: the small network from content vectors to the embedding.' })

const view = z.strictObject({
  prefix: option(
    z.union([z.literal('full'), count.max(4096)]),
    defaults.views.main.prefix,
    'Which Matryoshka prefix of the distilled part the view publishes, beside the matching share of the content part: one of `head.prefixes`, or `full`.',
    'dims',
  ),
  dtype: option(
    z.enum(['f32', 'f16', 'i8']),
    defaults.views.main.dtype,
    'Number type of published vectors: 4, 2 or 1 bytes per dimension; `i8` has one scale per vector.',
  ),
})

export const views = z
  .record(name, view)
  .refine((value) => Object.keys(value).length > 0, 'must name at least one view, such as `main: {}`')
  .refine((value) => Object.keys(value).length <= 16, 'must name at most 16 views')
  .default(defaults.views as never)
  .meta({ description: 'Published feature sets, by name. Each costs its own bytes per item.' })

export const refresh = z
  .strictObject({
    everyMs: option(
      durationMs,
      defaults.refresh.everyMs,
      'Event time between scheduled refreshes; 0: only by command. Lower: fresher IDs and heads, more building.',
      'ms',
    ),
    bootstrapMs: option(
      durationMs,
      defaults.refresh.bootstrapMs,
      'Event time of item-content after which version 1 is built even if fewer items have arrived than the codebooks want.',
      'ms',
    ),
    evalWindowMs: option(
      durationMs.min(1000),
      defaults.refresh.evalWindowMs,
      'Event time after a checkpoint on which it is judged. Higher: surer judgment, later switch.',
      'ms',
    ),
    rollbackWindowMs: option(
      durationMs,
      defaults.refresh.rollbackWindowMs,
      'How long a kept version goes on receiving updates, so that a rollback is instant. Higher: more writing.',
      'ms',
    ),
    watch: z
      .strictObject({
        minItems: option(
          count,
          defaults.refresh.watch.minItems,
          'New items (content after the cut of the live version) from which on they are judged. Higher: surer, later.',
          'items',
        ),
        errorRatio: option(
          z.number().min(1).nullable(),
          defaults.refresh.watch.errorRatio,
          'A refresh is proposed when the mean error of new items is more than so many times that of the others; null: never for that. Higher: later.',
        ),
        headShare: option(
          share.nullable(),
          defaults.refresh.watch.headShare,
          'A refresh is proposed when more than this share of the new items has one and the same first code; null: never for that. Higher: later.',
        ),
        capacity: option(
          count,
          defaults.refresh.watch.capacity,
          'Items that may share a semantic ID before its bucket counts as over-full. Higher: fewer do.',
          'items',
        ),
        occupancyRise: option(
          share.nullable(),
          defaults.refresh.watch.occupancyRise,
          'A refresh is proposed when new items raise the share of items in over-full buckets by more than this; null: never for that. Higher: later.',
        ),
      })
      .prefault({})
      .meta({ description: 'What is watched at the end of every round while items come; it proposes a refresh and starts none.' }),
  })
  .prefault({})
  .meta({ description: 'When new versions are built.' })

/** Figures with bounds of 0 and 1. */
const gateFigures = [
  ...windowFigures,
  ...contentFigures.filter((figure) => figure !== 'pairDPrime'),
  ...spaceFigures.filter((figure) => figure !== 'dPrime' && figure !== 'coldDPrime'),
] as const

const gateRule = z
  .strictObject({
    min: option(share.nullable(), gateRuleDefaults.min, 'Least value of the figure; null: none.'),
    max: option(share.nullable(), gateRuleDefaults.max, 'Largest value of the figure; null: none.'),
    maxLoss: option(
      share.nullable(),
      gateRuleDefaults.maxLoss,
      'How far the figure may lie below that of its reference on the same events; null: however far. Higher: more lenient.',
    ),
    against: option(
      z.enum(['raw', 'live']).nullable(),
      gateRuleDefaults.against,
      'Reference of `maxLoss`: the raw content vectors, or the live version (raw before there is one); null: `live` for warm items, else `raw`, so that small losses cannot add up over many versions.',
    ),
  })
  .refine(({ min, max, maxLoss }) => min !== null || max !== null || maxLoss !== null, 'must set `min`, `max` or `maxLoss`')
  .refine(({ against, maxLoss }) => against === null || maxLoss !== null, '`against` belongs to `maxLoss`')

export const guard = z
  .strictObject({
    mode: option(
      z.enum(['enforce', 'report']),
      defaults.guard.mode,
      '`enforce` refuses a candidate that fails a clause; `report` only says so.',
    ),
    minNeighborRecall: option(
      share,
      defaults.guard.minNeighborRecall,
      'Without held-out pairs: least recall@50 of the ten nearest raw neighbors of each item. Higher: stricter.',
    ),
    pairRecallTolerance: option(
      share,
      defaults.guard.pairRecallTolerance,
      'With held-out pairs: most that recall@50 of pairs first seen in the window may fall below that of the raw vectors. Higher: more lenient.',
    ),
    popAucTolerance: option(
      share,
      defaults.guard.popAucTolerance,
      'Most that warm or cold popularity-weighted AUC may fall below its reference. Higher: more lenient.',
    ),
    recallTolerance: option(
      share,
      defaults.guard.recallTolerance,
      'Most that recall@10 may fall below its reference. Higher: more lenient.',
    ),
    minEvents: option(
      z.int().min(0),
      defaults.guard.minEvents,
      'Below this many events a clause says `insufficient` and passes with a warning. Higher: surer, silent for longer.',
      'events',
    ),
    gate: option(
      z.partialRecord(z.enum(gateFigures), gateRule),
      defaults.guard.gate,
      `Own thresholds on figures of the judgment, such as \`coldRecall10: { min: 0.05, maxLoss: 0.01 }\`. A candidate outside any of them is refused with the figure as its reason; one with less than \`minEvents\` behind it is not judged. Figures: ${gateFigures.map((figure) => `\`${figure}\``).join(', ')} (\`uni\`, \`pop\`: AUC against live items, even or by popularity; \`recallK\`: targets among the first K; the others: \`docs/reference/judging.md\`).`,
    ),
  })
  .prefault({})
  .meta({ description: 'The guard on every candidate version.' })
