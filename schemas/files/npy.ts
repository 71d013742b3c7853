/**
 * The header of NumPy's `.npy` format (versions 1 to 3) and its half-precision numbers.
 * Invariant: only little-endian, row-major, two-dimensional arrays of float16, float32 or float64 pass.
 */
import { limits } from '../limits.ts'
import { invalidFile, type RandomAccessFile } from './source.ts'

/** Element type: 2, 4 or 8 bytes. */
export type NpyDtype = 'f2' | 'f4' | 'f8'

export interface NpyHeader {
  readonly rows: number
  readonly dim: number
  readonly dtype: NpyDtype
  /** Where the first element stands, bytes. */
  readonly dataAt: number
}

const magic = '\u0093NUMPY'
const maxHeaderBytes = 1 << 16

/**
 * Reads and checks the header.
 * @throws SIDESTREAM_FILE_INVALID when it is no `.npy` file or not a matrix this project can read
 */
export async function readNpyHeader(source: RandomAccessFile): Promise<NpyHeader> {
  const start = new Uint8Array(12)
  if (source.bytes < start.length) throw invalidFile(source.path, `has ${source.bytes} bytes, too few for .npy; fetch or write it again`)
  await source.read(0, start)
  if (Buffer.from(start.subarray(0, 6)).toString('latin1') !== magic)
    throw invalidFile(source.path, 'is not a .npy file; write it with numpy.save')
  const major = start[6]!
  if (major < 1 || major > 3) throw invalidFile(source.path, `has .npy version ${major}; versions 1 to 3 are known`)
  const view = new DataView(start.buffer)
  const lengthBytes = major === 1 ? 2 : 4
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (length > maxHeaderBytes) throw invalidFile(source.path, `has a header of ${length} bytes; at most ${maxHeaderBytes} are taken`)
  const bytes = new Uint8Array(length)
  await source.read(8 + lengthBytes, bytes)
  const text = Buffer.from(bytes).toString('latin1')
  const dtype = /'descr':\s*'([^']*)'/.exec(text)?.[1]
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1]
  const shape = /'shape':\s*\(([^)]*)\)/.exec(text)?.[1]
  if (dtype === undefined || order === undefined || shape === undefined)
    throw invalidFile(source.path, 'has a .npy header that cannot be read; write it with numpy.save')
  if (!/^<f[248]$/.test(dtype)) throw invalidFile(source.path, `has elements of type ${dtype}; use .astype('<f4') before numpy.save`)
  if (order === 'True') throw invalidFile(source.path, 'is in Fortran order; use numpy.ascontiguousarray before numpy.save')
  const sizes = shape.split(',').flatMap((size) => (size.trim() === '' ? [] : [Number(size)]))
  const [rows, dim] = sizes
  if (sizes.length !== 2 || !Number.isSafeInteger(rows) || !Number.isInteger(dim) || dim! < 1 || dim! > limits.dim) {
    throw invalidFile(source.path, `has shape (${shape.trim()}); a matrix (rows, dim) with dim from 1 to ${limits.dim} is wanted`)
  }
  return { rows: rows!, dim: dim!, dtype: dtype.slice(1) as NpyDtype, dataAt: 8 + lengthBytes + length }
}

/** IEEE 754 half precision to a number. */
export function float16ToFloat32(bits: number): number {
  const sign = bits >>> 15 === 0 ? 1 : -1
  const exponent = (bits >>> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
