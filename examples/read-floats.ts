/** Reads a `.f32` file of the data sets: nothing but row-major little-endian float32. */
import { readFile } from 'node:fs/promises'

export async function readFloats(file: string): Promise<Float32Array> {
  const bytes = await readFile(file)
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}
