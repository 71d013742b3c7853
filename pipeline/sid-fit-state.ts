/**
 * Where a fit stands, on disk: the newest state that was whole.
 * Invariant: a process that is killed leaves a state that can be gone on from, or none.
 */

import { readFile, rm } from 'node:fs/promises'
import { fileError, removeAbandoned, writeWhole } from '../schemas/index.ts'

/** While one state is being written, later ones are passed over. */
export class StateFile {
  readonly #file: string
  #writing: Promise<void> | undefined
  #failure: unknown

  constructor(file: string) {
    this.#file = file
  }

  /** The bytes; undefined when there are none. */
  async read(): Promise<Uint8Array | undefined> {
    try {
      return new Uint8Array(await readFile(this.#file))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw fileError(this.#file, error)
    }
  }

  /** @throws what writing the one before threw */
  keep(bytes: () => Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#writing !== undefined) return
    const state = bytes()
    this.#writing = writeWhole(this.#file, (handle) => handle.writeFile(state)).then(
      () => void (this.#writing = undefined),
      (error: unknown) => {
        this.#failure = error
        this.#writing = undefined
      },
    )
  }

  async written(): Promise<void> {
    await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  async remove(): Promise<void> {
    await rm(this.#file, { force: true })
    await removeAbandoned(this.#file, Date.now())
  }
}
