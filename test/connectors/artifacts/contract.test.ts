import { openArtifactDirectory } from '../../../connectors/index.ts'
import { artifactsContract } from '../../contract/artifacts.ts'
import { scratchDirectory } from '../scratch-directory.ts'

artifactsContract({
  name: 'artifact directory',
  open: async () => {
    const { directory, remove } = await scratchDirectory()
    return { artifacts: await openArtifactDirectory({ directory }), close: remove }
  },
})
