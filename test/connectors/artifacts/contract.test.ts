import { randomUUID } from 'node:crypto'
import { join } from 'node:path'

import { openArtifactDirectory, openArtifactLog, openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { LogDriver } from '../../../connectors/index.ts'
import { artifactsContract } from '../../contract/artifacts.ts'
import { openTestLog, skipWithoutKafka } from '../log/kafka-bench.ts'
import { scratchDirectory } from '../scratch-directory.ts'

artifactsContract({
  name: 'artifact directory',
  open: async () => {
    const { directory, remove } = await scratchDirectory()
    return { artifacts: await openArtifactDirectory({ directory }), close: remove }
  },
})

const logs: Readonly<Record<string, { readonly skip?: string | false; open(directory: string): Promise<LogDriver> }>> = {
  memory: { open: () => openMemoryLog() },
  file: { open: (directory) => openFileLog({ directory: join(directory, 'log'), groupCommitMs: 0 }) },
  kafka: { skip: skipWithoutKafka, open: () => openTestLog() },
}

for (const [name, { skip = false, open }] of Object.entries(logs)) {
  artifactsContract({
    name: `artifacts over the ${name} log`,
    skip,
    open: async () => {
      const { directory, remove } = await scratchDirectory()
      const log = await open(directory)
      const topic = `artifacts-${randomUUID()}`
      await (await log.admin()).createTopics([{ name: topic, partitions: 1, cleanup: 'compact' }])
      const artifacts = await openArtifactLog({ log, topic, directory: join(directory, 'cache') })
      const close = async (): Promise<void> => {
        if (name === 'kafka') await (await log.admin()).deleteTopic(topic)
        await log.close()
        await remove()
      }
      return { artifacts, close }
    },
  })
}
