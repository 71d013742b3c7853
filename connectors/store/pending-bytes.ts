/** A bound on the bytes of requests that have no answer yet. Invariant: whoever asks first gets room first. */

export class PendingBytes {
  readonly #most: number
  readonly #queue: { readonly bytes: number; readonly start: () => void }[] = []
  #used = 0

  /** @param most - bytes; a single larger request passes when nothing else is pending */
  constructor(most: number) {
    this.#most = most
  }

  get used(): number {
    return this.#used
  }

  /**
   * Takes room for a request.
   * @returns gives the room back, to be called once; undefined when there was none within `ms`
   */
  async take(bytes: number, ms: number): Promise<(() => void) | undefined> {
    if (this.#queue.length === 0 && this.#fits(bytes)) return this.#start(bytes)
    return new Promise((resolve) => {
      const waiting = {
        bytes,
        start: (): void => {
          clearTimeout(timer)
          resolve(this.#start(bytes))
        },
      }
      const timer = setTimeout(() => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1)
        this.#next()
        resolve(undefined)
      }, ms)
      this.#queue.push(waiting)
    })
  }

  #start(bytes: number): () => void {
    this.#used += bytes
    return () => {
      this.#used -= bytes
      this.#next()
    }
  }

  #next(): void {
    while (this.#queue.length > 0 && this.#fits(this.#queue[0]!.bytes)) this.#queue.shift()!.start()
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#most
  }
}
