/**
 * The figures that a judgment holds, by name: what `guard.gate` may set thresholds on.
 * Invariant: names are only ever added; each is a number between 0 and 1 unless it says otherwise, and higher is better
 * unless it says otherwise.
 */

/**
 * Next-item figures on a window: `uni` and `pop` = AUC against live items, taken evenly or by their recent interactions;
 * `recallK` = share of events whose target is among the first K. Over all events, those of warm and those of cold targets.
 */
export const windowFigures = [
  'uni',
  'pop',
  'recall1',
  'recall10',
  'recall25',
  'recall50',
  'recall100',
  'warmUni',
  'warmPop',
  'warmRecall1',
  'warmRecall10',
  'warmRecall25',
  'warmRecall50',
  'warmRecall100',
  'coldUni',
  'coldPop',
  'coldRecall1',
  'coldRecall10',
  'coldRecall25',
  'coldRecall50',
  'coldRecall100',
] as const

export type WindowFigure = (typeof windowFigures)[number]

/**
 * Figures about content. `neighborRecall` = share of an item's nearest raw neighbors that are still near. Of held-out pairs:
 * `pairRecallK`; `pairSeparation`, the AUC of pairs against all other items, and `pairDPrime`, which has no upper bound;
 * `pairBijective`, the share of queries that their nearest target leads back to.
 */
export const contentFigures = [
  'neighborRecall',
  'pairRecall1',
  'pairRecall10',
  'pairRecall25',
  'pairRecall50',
  'pairRecall100',
  'pairSeparation',
  'pairDPrime',
  'pairBijective',
] as const

export type ContentFigure = (typeof contentFigures)[number]

/**
 * Figures of a space. Of next items: `separability`, the AUC of (history, next item) against all other items, and `dPrime`, the
 * distance of the two, which has no upper bound; `bijective`, the share of events whose target leads back to their history; `nmi` of the
 * clusters of histories and of their targets; `filteredRecallK`, over histories of the target's label or cluster. `kendall` and `top100`:
 * agreement with the ID embeddings of items that did not teach the head, tau (from -1) and the share of the 100 nearest in both;
 * `taught…`: the same of items that did. `pairAuc`: graded pairs of the median score and above against the others. `cold…`: events of
 * cold targets, or items that nobody had liked before the window.
 */
export const spaceFigures = [
  'separability',
  'dPrime',
  'bijective',
  'nmi',
  'filteredRecall1',
  'filteredRecall10',
  'filteredRecall25',
  'filteredRecall50',
  'filteredRecall100',
  'kendall',
  'top100',
  'taughtKendall',
  'taughtTop100',
  'pairAuc',
  'coldSeparability',
  'coldDPrime',
  'coldBijective',
  'coldNmi',
  'coldFilteredRecall1',
  'coldFilteredRecall10',
  'coldFilteredRecall25',
  'coldFilteredRecall50',
  'coldFilteredRecall100',
  'coldKendall',
  'coldTop100',
] as const

export type SpaceFigure = (typeof spaceFigures)[number]
