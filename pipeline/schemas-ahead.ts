/**
 * Schemas of other teams' producers, fetched before a batch is decoded. Every stage that decodes input records calls this
 * first: owner, ingest and version writers wait for the registry in the same way.
 * Invariant: a batch whose schemas cannot be asked for is given again later, whole; nothing of it is refused.
 */

import { isSidestreamError } from '../schemas/index.ts'
import type { Lane, LogBatch } from '../connectors/index.ts'
import type { Project } from './project.ts'
import { isRetried } from './record-headers.ts'

/** @throws what `WriterSchemas.prepare` throws; a retryable error is logged as well, since the lane only tries again */
export async function prepareSchemas({ schemas, logger }: Pick<Project, 'schemas' | 'logger'>, batch: LogBatch, lane: Lane): Promise<void> {
  try {
    // A record that was retried by hand may have a schema by now, whatever was believed before.
    await schemas.prepare(batch.records, { again: isRetried, signal: lane.signal })
  } catch (error) {
    if (isSidestreamError(error) && error.class === 'retryable') {
      logger.warn(
        { topic: batch.topic, partition: batch.partition, offset: String(batch.first), code: error.code },
        `records wait: ${error.message}`,
      )
    }
    throw error
  }
}
