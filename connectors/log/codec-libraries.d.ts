/** The parts that we use of two codec libraries without types. */

declare module 'lz4js' {
  /** Decompresses one block to `target` from `targetIndex` on; writes nothing behind the end. @returns the index after the last byte */
  export function decompressBlock(source: Uint8Array, target: Uint8Array, index: number, length: number, targetIndex: number): number
}

declare module 'snappyjs' {
  /** @throws when the stream is damaged or longer than `maxLength` */
  export function uncompress(source: Buffer, maxLength: number): Buffer
  export function compress(source: Buffer): Buffer
}
