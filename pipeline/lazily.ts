/** Something that is opened when it is first used. */

export interface Lazy<T> {
  /** Opens it, or waits for it. Fails as opening does; the next use then opens anew. */
  use(): Promise<T>
  /** Closes it if it was opened. */
  close(): Promise<void>
}

/** @param open - called once, by the first use; again by the next one when it failed */
export function lazily<T extends { close(): Promise<void> }>(open: () => Promise<T>): Lazy<T> {
  let opened: Promise<T> | undefined
  return {
    use: () => {
      opened ??= open().catch((error: unknown) => {
        opened = undefined
        throw error
      })
      return opened
    },
    close: async () => (await opened)?.close(),
  }
}
