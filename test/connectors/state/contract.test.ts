import { memoryState, openLmdbState } from '../../../connectors/index.ts'
import { stateContract } from '../../contract/state.ts'
import { scratchDirectory } from '../scratch-directory.ts'

stateContract({
  name: 'memory state',
  open: async () => {
    const state = memoryState()
    return { state, close: () => state.close() }
  },
})

stateContract({
  name: 'lmdb state',
  open: async () => {
    const { directory, remove } = await scratchDirectory()
    const state = await openLmdbState({ directory })
    return {
      state,
      close: async () => {
        await state.close()
        await remove()
      },
    }
  },
})
