import { memoryStore, openLmdbStore } from '../../../connectors/index.ts'
import { storeContract } from '../../contract/store.ts'
import { scratchDirectory } from '../scratch-directory.ts'

storeContract({
  name: 'memory store',
  clock: 'given',
  open: async (clock) => {
    const store = memoryStore({ clock })
    return { store, close: () => store.close() }
  },
})

storeContract({
  name: 'lmdb store',
  clock: 'given',
  open: async (clock) => {
    const { directory, remove } = await scratchDirectory()
    const store = await openLmdbStore({ directory, clock })
    return {
      store,
      close: async () => {
        await store.close()
        await remove()
      },
    }
  },
})
