/**
 * The pieces that the groups of `sidestream.yaml` are made of.
 * Invariant: an option that need not be given carries its default, its description and, where it has one, its unit.
 */
import { z } from 'zod'
import { limits } from './limits.ts'

const namePattern = /^[a-z0-9_-]{1,64}$/

/** A name that stands in store keys, file names and topics. */
export const name = z.string().regex(namePattern, 'must be 1 to 64 of a-z, 0-9, _ and -')
export const text = z
  .string()
  .refine((value) => value !== '' && Buffer.byteLength(value) <= limits.textBytes, `must be 1 to ${limits.textBytes} bytes`)
export const count = z.int().min(1)
export const durationMs = z.int().min(0)
export const bytes = z.int().min(1)
export const share = z.number().min(0).max(1)

/** An option that need not be given. */
export function option<T extends z.ZodType>(schema: T, value: unknown, description: string, unit?: string): z.ZodDefault<T> {
  return schema.default(value as never).meta(unit === undefined ? { description } : { description, unit })
}

/** A value whose every level is read-only. */
export type DeepReadonly<T> = T extends readonly (infer E)[]
  ? readonly DeepReadonly<E>[]
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T
