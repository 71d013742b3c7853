/** Copies a topic in transactions, as docs/reference/log.md says: after an error the committed offset decides where to go on. */
import { transactionalIdOf } from '../../../connectors/index.ts'
import type { Lane, LogConsumer, LogDriver, LogProducer } from '../../../connectors/index.ts'
import { isSidestreamError } from '../../../schemas/index.ts'
import type { SidestreamError } from '../../../schemas/index.ts'
import { start } from '../../contract/log-fixture.ts'

/** The group of all who copy a topic. */
export const copyGroup = (from: string): string => `${from}-copy`

export interface Copy {
  readonly consumer: LogConsumer
  /** Errors of transactions, in order. */
  readonly errors: SidestreamError[]
  /** Batches whose transaction was committed, as far as is known. */
  readonly batches: () => number
}

/** Begins to copy; records go to the partition they come from. */
export async function copy(log: LogDriver, from: string, to: string): Promise<Copy> {
  const group = copyGroup(from)
  const admin = await log.admin()
  const position = async ({ partition }: Lane): Promise<bigint> => (await admin.committed(group, from))[partition] ?? 0n
  const errors: SidestreamError[] = []
  const producers = new Map<Lane, LogProducer>()
  const unsure = new Set<Lane>()
  let batches = 0
  const consumer = await start(
    log,
    { group, topics: [from], commits: 'handler', batchRecords: 7 },
    {
      onAssigned: async (lane) => {
        producers.set(lane, await log.producer({ transactionalId: transactionalIdOf(group, lane) }))
        return position(lane)
      },
      onBatch: async (batch, lane) => {
        const transaction = await producers.get(lane)!.begin!() // waits for the end of the last one
        try {
          const at = unsure.has(lane) ? await position(lane) : batch.first
          unsure.delete(lane)
          if (at !== batch.first) {
            await transaction.abort()
            return lane.seek(at)
          }
          await transaction.send(to, lane.partition, batch.records)
          transaction.consumed(lane, batch.next)
          await transaction.commit()
          batches++
        } catch (error) {
          unsure.add(lane)
          if (isSidestreamError(error)) errors.push(error)
          await transaction.abort()
          throw error
        }
      },
      onRevoked: async (lane) => producers.get(lane)?.close(),
    },
  )
  return { consumer, errors, batches: () => batches }
}
