import { join } from 'node:path'

import { openArtifactDirectory, openArtifactLog, openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { LogDriver } from '../../../connectors/index.ts'
import { artifactsContract } from '../../contract/artifacts.ts'
import { scratchDirectory } from '../scratch-directory.ts'

artifactsContract({
  name: 'artifact directory',
  open: async () => {
    const { directory, remove } = await scratchDirectory()
    return { artifacts: await openArtifactDirectory({ directory }), close: remove }
  },
})

const logs: Readonly<Record<string, (directory: string) => Promise<LogDriver>>> = {
  memory: () => openMemoryLog(),
  file: (directory) => openFileLog({ directory: join(directory, 'log'), groupCommitMs: 0 }),
}

for (const [name, openLog] of Object.entries(logs)) {
  artifactsContract({
    name: `artifacts over the ${name} log`,
    open: async () => {
      const { directory, remove } = await scratchDirectory()
      const log = await openLog(directory)
      await (await log.admin()).createTopics([{ name: 'artifacts', partitions: 1, cleanup: 'compact' }])
      const artifacts = await openArtifactLog({ log, directory: join(directory, 'cache') })
      const close = async (): Promise<void> => {
        await log.close()
        await remove()
      }
      return { artifacts, close }
    },
  })
}
