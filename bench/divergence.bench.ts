/**
 * At which learning rates a head is ruined, and whether training says so: a world whose items show what users like, 240 steps at a
 * constant rate from the untrained head, recall@10 of held-out targets before and after.
 * `npm run bench -- divergence`.
 */
import { constantAfterWarmup, fillNormal, uniformInt } from '../compute/index.ts'
import { createHead, fitStatistics, HeadEncoder, Trainer, usableRows } from '../distill/index.ts'
import type { ContentVectors, Head, TrainingRow } from '../distill/index.ts'
import { isSidestreamError } from '../schemas/index.ts'

const [itemCount, userCount, tastes, shown, steps] = [600, 300, 6, 60, 240]
const modalities = [
  { name: 'image', dim: 24 },
  { name: 'text', dim: 16 },
]

function normal(count: number, seed: number): Float64Array {
  const out = new Float64Array(count)
  fillNormal(out, seed, 0)
  return out
}

const [itemTaste, userTaste] = [normal(itemCount * tastes, 1), normal(userCount * tastes, 2)]
const items = new Map<string, ContentVectors>()
const shapes = modalities.map(({ dim }, m) => ({ map: normal(dim * tastes, 10 + m), noise: normal(itemCount * dim, 20 + m) }))
for (let i = 0; i < itemCount; i++) {
  const vectors = modalities.map(({ name, dim }, m) => {
    const { map, noise } = shapes[m]!
    const vector = Float32Array.from({ length: dim }, (_, k) => {
      let sum = 0.3 * noise[i * dim + k]!
      for (let t = 0; t < tastes; t++) sum += itemTaste[i * tastes + t]! * map[k * tastes + t]!
      return sum
    })
    return [name, vector] as const
  })
  items.set(`i${i}`, Object.fromEntries(vectors))
}

/** Five items and the next: each the best of those that were shown. */
function rowsOf(count: number, seed: number): readonly TrainingRow[] {
  const rows = Array.from({ length: count }, (_, row): TrainingRow => {
    const user = uniformInt(seed, 1, row, userCount)
    const liking = (item: number): number => {
      let sum = 0
      for (let t = 0; t < tastes; t++) sum += userTaste[user * tastes + t]! * itemTaste[item * tastes + t]!
      return sum
    }
    const liked = Array.from({ length: 6 }, (_place, k) => {
      const seen = Array.from({ length: shown }, (_item, s) => uniformInt(seed, 100 + k * shown + s, row, itemCount))
      return `i${seen.reduce((best, item) => (liking(item) > liking(best) ? item : best))}`
    })
    const targetId = liked.pop()!
    return { userId: `u${user}`, targetId, history: liked.filter((id) => id !== targetId) }
  })
  return usableRows(rows, (id) => items.get(id)).rows
}

const held = rowsOf(600, 99)

/** Share of held-out targets among the ten items nearest to the mean of the history. */
async function recall(head: Head): Promise<number> {
  const encoder = await HeadEncoder.create(head)
  const { distilled } = await encoder.encode([...items.values()])
  await encoder.close()
  const { dims } = head.spec
  const place = (id: string): number => Number(id.slice(1)) * dims
  const found = held.filter(({ history, targetId }) => {
    const query = Float64Array.from({ length: dims }, (_, d) => history.reduce((sum, id) => sum + distilled[place(id) + d]!, 0))
    const scores = Array.from({ length: itemCount }, (_, i) => query.reduce((sum, x, d) => sum + x * distilled[i * dims + d]!, 0))
    const own = scores[place(targetId) / dims]!
    return scores.filter((score) => score > own).length < 10
  })
  return found.length / held.length
}

const start = createHead(
  { modalities, dims: 32, hidden: 32, prefixes: [8, 16, 32], seed: 3 },
  fitStatistics(modalities, [...items.values()]),
)
const rows = rowsOf(4000, 5)
console.log(`recall@10 of the untrained head ${(await recall(start)).toFixed(3)}`)
console.log('temperature | batch | rate | recall@10 after | mean loss of the first and the last 100 steps | stopped')
for (const tau of [0.05, 0.2]) {
  for (const batchSize of [16, 128]) {
    for (const max of [2e-3, 1e-2, 0.1, 0.3, 1]) {
      const run = async (
        maxLossRise: number | null,
      ): Promise<{ readonly head: Head; readonly losses: number[]; readonly said: string }> => {
        const trainer = await Trainer.create(start, { tau, batchSize, maxLossRise })
        const losses: number[] = []
        let said = 'no'
        try {
          await trainer.train(rows, (id) => items.get(id), {
            schedule: constantAfterWarmup({ max, warmupSteps: 5 }),
            steps,
            keepEvery: steps,
            shuffleSeed: 1,
            onStep: (_, { loss }) => void losses.push(loss),
          })
        } catch (error) {
          if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_TRAINING_DIVERGED') throw error
          said = error.message.includes('rose from') ? 'by the rise of the loss' : 'by the comparison'
        }
        const head = await trainer.head()
        await trainer.close()
        return { head, losses, said }
      }
      const { head, losses } = await run(null)
      const { said } = await run(2)
      const mean = (part: readonly number[]): string => (part.reduce((sum, loss) => sum + loss, 0) / part.length).toFixed(2)
      console.log(
        [tau, batchSize, max, (await recall(head)).toFixed(3), `${mean(losses.slice(0, 100))}, ${mean(losses.slice(-100))}`, said].join(
          ' | ',
        ),
      )
    }
  }
}
