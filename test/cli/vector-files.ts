/** Small files of vectors of every kind that the `sid` commands read. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fillNormal } from '../../compute/index.ts'
import { writeEmbeddings, writeVectorsF32 } from '../../schemas/index.ts'

export interface Items {
  readonly ids: readonly string[]
  /** Row-major, shape [ids.length, dim]. */
  readonly vectors: Float32Array
  readonly dim: number
}

/** Items around as many centers as there are `groups`, `spread` away from them. */
export function clustered(count: number, dim: number, groups: number, { seed = 1, spread = 0.3 } = {}): Items {
  const centers = new Float32Array(groups * dim)
  fillNormal(centers, 7, 0)
  const vectors = new Float32Array(count * dim)
  fillNormal(vectors, seed, 1)
  for (let at = 0; at < vectors.length; at++) {
    const group = Math.floor(at / dim) % groups
    vectors[at] = centers[group * dim + (at % dim)]! + spread * vectors[at]!
  }
  return { ids: Array.from({ length: count }, (_, row) => `item-${row}`), vectors, dim }
}

/** The items with some of them taken out and every vector moved a little, as a later training leaves them. */
export function moved({ ids, vectors, dim }: Items, by: number, without: readonly string[] = [], fresh: readonly string[] = []): Items {
  const noise = new Float32Array(vectors.length)
  fillNormal(noise, 99, 0)
  const rows = ids.flatMap((id, row) => (without.includes(id) ? [] : [row]))
  const out = new Float32Array((rows.length + fresh.length) * dim)
  for (const [to, row] of [...rows, ...fresh.map((_, i) => i)].entries())
    for (let j = 0; j < dim; j++) out[to * dim + j] = vectors[row * dim + j]! + by * noise[((row + to) % ids.length) * dim + j]!
  return { ids: [...rows.map((row) => ids[row]!), ...fresh], vectors: out, dim }
}

export async function writeVectors(directory: string, name: string, { ids, vectors, dim }: Items): Promise<string> {
  const file = join(directory, name)
  if (name.endsWith('.parquet')) await writeEmbeddings(file, [{ ids, vectors, dim }])
  else if (name.endsWith('.f32')) await writeVectorsF32(file, [{ ids, vectors, dim }])
  else if (name.endsWith('.csv')) {
    const rows = ids.map((id, row) => `${id},${Array.from(vectors.subarray(row * dim, (row + 1) * dim)).join('|')}`)
    await writeFile(file, `item_id,vector\n${rows.join('\n')}\n`)
  } else {
    const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${ids.length}, ${dim}), }`
    const padded = header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11) + '\n'
    const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, padded.length & 255, padded.length >> 8])
    await writeFile(
      file,
      Buffer.concat([start, Buffer.from(padded), new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength)]),
    )
    await writeFile(file.replace(/npy$/, 'ids.txt'), ids.map((id) => `${id}\n`).join(''))
  }
  return name
}
