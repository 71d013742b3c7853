import { deepStrictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import { blockLayout } from '../../schemas/index.ts'

test('blocks of 128 + 250 dims end where the content share says', () => {
  const { ends, blocks, dim } = blockLayout({ dims: 128, contentDims: 250, prefixes: [32, 64, 128] })
  deepStrictEqual(ends, [32 + 63, 64 + 125, 128 + 250])
  deepStrictEqual(blocks[1], { distilled: [32, 64], content: [63, 125], distilledAt: [95, 127], contentAt: [127, 189] })
  deepStrictEqual(dim, 378)
})

test('the places of a layout cover the vector once, in order, and every part once', () => {
  const options = fc.record({
    dims: fc.integer({ min: 1, max: 300 }),
    contentDims: fc.integer({ min: 0, max: 300 }),
    cuts: fc.uniqueArray(fc.integer({ min: 1, max: 300 }), { maxLength: 5 }),
  })
  fc.assert(
    fc.property(options, ({ dims, contentDims, cuts }) => {
      const prefixes = cuts.filter((cut) => cut <= dims).sort((a, b) => a - b)
      const { blocks, ends, dim } = blockLayout({ dims, contentDims, prefixes })
      const places: number[] = []
      const distilled: number[] = []
      const content: number[] = []
      const span = ([from, to]: readonly [number, number]): number[] => Array.from({ length: to - from }, (_, i) => from + i)
      for (const [k, block] of blocks.entries()) {
        places.push(...span(block.distilledAt), ...span(block.contentAt))
        distilled.push(...span(block.distilled))
        content.push(...span(block.content))
        deepStrictEqual(places.length, ends[k])
        deepStrictEqual(
          [block.distilledAt[1] - block.distilledAt[0], block.contentAt[1] - block.contentAt[0]],
          [block.distilled[1] - block.distilled[0], block.content[1] - block.content[0]],
        )
      }
      deepStrictEqual(places, span([0, dim]))
      deepStrictEqual(distilled, span([0, dims]))
      deepStrictEqual(content, span([0, contentDims]))
    }),
  )
})

test('dims and prefixes that make no layout are refused', () => {
  const refused = { code: 'SIDESTREAM_USAGE_INVALID' }
  for (const bad of [
    { dims: 0, contentDims: 1, prefixes: [] },
    { dims: 8, contentDims: -1, prefixes: [] },
    { dims: 8, contentDims: 1, prefixes: [4, 4] },
    { dims: 8, contentDims: 1, prefixes: [16] },
    { dims: 8, contentDims: 1, prefixes: [2.5] },
  ]) {
    throws(() => blockLayout(bad), refused)
  }
})
