/** Sections of the report on semantic IDs about the ID space: its map, its crowded places. */
import type { CollisionReport, IdSpace, IdSpaceNode } from '../semantic-ids/index.ts'
import { formatNumber } from './number-text.ts'
import type { Block, Section } from './page.ts'
import { cut, percent, type ReportFigures } from './semantic-id-figures.ts'
import { treeMap } from './tree-map.ts'
import type { TreeMapCell } from './tree-map.ts'

/** Prefixes that the table names. */
const namedPrefixes = 20

/** The largest prefixes, drawn and with example items. */
export function spaceSection({ report }: ReportFigures, space: IdSpace | undefined): Section {
  const title = 'The ID space'
  if (space === undefined || space.prefixes.length === 0) {
    return { title, blocks: [{ kind: 'text', text: space === undefined ? 'No map was asked for.' : 'Without items there is no map.' }] }
  }
  // Items per ID on a log scale: 1 is pale, the most crowded prefix dark.
  const most = Math.max(...space.prefixes.flatMap((node) => [node, ...node.children]).map(crowding))
  const cellOf = (node: IdSpaceNode, depth: number): TreeMapCell => ({
    name: depth === 0 && node.label !== null ? `${node.codes[0]} · ${node.label}` : String(node.codes.at(-1)),
    value: node.items,
    shade: most <= 1 ? 0 : Math.log(crowding(node)) / Math.log(most),
    detail: detailOf(node),
    ...(node.examples[0] !== undefined && { example: node.examples[0] }),
    children: node.children.map((child) => cellOf(child, depth + 1)),
    left: node.left.prefixes,
  })
  const svg = treeMap({
    title: 'Prefixes by items',
    width: 1040,
    height: 640,
    description: space.prefixes
      .slice(0, 10)
      .map(({ codes, items, label }) => `${codes.join('-')}: ${items} items${label === null ? '' : `, most of ${label}`}`)
      .join('; '),
    cells: space.prefixes.map((node) => cellOf(node, 0)),
  })
  const hasLabels = space.prefixes.some(({ label }) => label !== null)
  const rest =
    space.left.prefixes === 0
      ? ''
      : ` ${formatNumber(space.left.prefixes)} smaller ones with ${formatNumber(space.left.items)} items are not drawn.`
  return {
    title,
    blocks: [
      {
        kind: 'wide',
        chart: {
          svg,
          caption: `What to see: outer areas are first codes${hasLabels ? ' with their commonest label' : ''}, inner ones second codes, with an example item where there is room; the area counts items, darker cells hold more items per ID (1 to ${formatNumber(most, 1)}). “12 others” (or +12) are 12 codes too small to draw one by one. Rest the pointer on a cell for its items.${rest}`,
        },
      },
      {
        kind: 'table',
        oneLine: true,
        caption: `Largest prefixes${space.prefixes.length > namedPrefixes ? `, the first ${namedPrefixes}` : ''}`,
        columns: ['first code', 'items', 'share', 'IDs', ...(hasLabels ? ['commonest label', 'its share'] : []), 'example items'],
        rows: space.prefixes
          .slice(0, namedPrefixes)
          .map(({ codes, items, distinct, label, labelShare, examples }) => [
            codes.join('-'),
            items,
            percent(items / report.cohort.items),
            distinct,
            ...(hasLabels ? [label === null ? null : cut(label, 40), percent(labelShare)] : []),
            exampleText(examples),
          ]),
      },
    ],
  }
}

function crowding({ items, distinct }: IdSpaceNode): number {
  return items / Math.max(1, distinct)
}

function exampleText(examples: readonly string[]): string {
  return examples.map((name) => cut(name, 32)).join('; ')
}

/** What stands where the pointer rests. */
function detailOf({ codes, items, distinct, label, labelShare, examples }: IdSpaceNode): string {
  const most = label === null ? '' : `, ${percent(labelShare)} ${cut(label, 40)}`
  return `${codes.join('-')}: ${formatNumber(items)} ${items === 1 ? 'item' : 'items'} in ${formatNumber(distinct)} ${distinct === 1 ? 'ID' : 'IDs'}${most}; such as ${exampleText(examples)}`
}

/** Who shares an ID: bucket sizes, duplicates apart from collisions, the fullest buckets, what a capacity moved. */
export function collisionSection(figures: ReportFigures, space: IdSpace | undefined, collisions: CollisionReport | undefined): Section {
  const title = 'Collisions'
  const { usage, duplicates } = figures.report.after.all
  if (usage.items === 0) return { title, blocks: [{ kind: 'text', text: 'Without items nothing collides.' }] }
  const blocks: Block[] = [
    {
      kind: 'table',
      caption: 'How many items share an ID',
      columns: ['items in the ID', 'IDs', 'items', 'share of items'],
      rows: bands(usage.bucketSizes).map(({ name, buckets, items }) => [name, buckets, items, percent(items / usage.items)]),
    },
  ]
  if (duplicates === null) {
    blocks.push({ kind: 'text', text: 'Vectors were not given: duplicates cannot be told from genuine collisions.' })
  } else {
    blocks.push({
      kind: 'table',
      caption: 'Duplicates and genuine collisions',
      columns: ['figure', 'count', 'of', 'share'],
      rows: [
        ['rows that repeat another, byte by byte', duplicates.duplicateRows, usage.items, percent(duplicates.duplicateRows / usage.items)],
        [
          'distinct vectors in an ID with another',
          duplicates.collidingVectors,
          duplicates.distinctVectors,
          percent(duplicates.collidingRate),
        ],
        ['IDs to distinct vectors', usage.distinct, duplicates.distinctVectors, percent(duplicates.uniqueRateOverDistinct)],
      ],
    })
  }
  if (space !== undefined && space.buckets.length > 0) {
    blocks.push({
      kind: 'table',
      oneLine: true,
      caption: 'Fullest IDs',
      columns: [
        'ID',
        'items',
        ...(space.buckets.some(({ label }) => label !== null) ? ['commonest label', 'its share'] : []),
        'example items',
      ],
      rows: space.buckets.map(({ codes, items, label, labelShare, examples }) => [
        codes.join('-'),
        items,
        ...(space.buckets.some((bucket) => bucket.label !== null) ? [label === null ? null : cut(label, 40), percent(labelShare)] : []),
        exampleText(examples),
      ]),
    })
  }
  if (collisions !== undefined) blocks.push(...capacityBlocks(collisions))
  return { title, blocks }
}

function capacityBlocks({ capacity, duplicates, bucketsOver, fullest, moved, unresolved, publishedOver, fvu }: CollisionReport): Block[] {
  return [
    {
      kind: 'table',
      caption: `Capacity ${capacity}, duplicates ${duplicates}`,
      columns: ['', 'before', 'after'],
      rows: [
        ['IDs over capacity', bucketsOver.before, bucketsOver.after],
        ['places taken in the fullest', fullest.before, fullest.after],
        ['variance unexplained (FVU)', fvu.before, fvu.after],
      ],
    },
    {
      kind: 'text',
      text: `${formatNumber(moved)} items took another last code, ${formatNumber(unresolved)} found no room, ${formatNumber(publishedOver)} over capacity were published and stayed.`,
    },
  ]
}

/** Bucket sizes in bands: 1, 2, 3 to 5, 6 to 10, 11 to 100, and so on by tens; empty ones are left out. */
function bands(sizes: readonly (readonly [size: number, buckets: number])[]): { name: string; buckets: number; items: number }[] {
  const ends = [1, 2, 5, 10, 100, 1000, 10_000, 100_000, Infinity]
  return ends.flatMap((end, i) => {
    const from = (ends[i - 1] ?? 0) + 1
    const own = sizes.filter(([size]) => size >= from && size <= end)
    if (own.length === 0) return []
    const name =
      from === end
        ? formatNumber(from)
        : end === Infinity
          ? `${formatNumber(from)} and more`
          : `${formatNumber(from)} to ${formatNumber(end)}`
    return {
      name,
      buckets: own.reduce((sum, [, buckets]) => sum + buckets, 0),
      items: own.reduce((sum, [size, buckets]) => sum + size * buckets, 0),
    }
  })
}
