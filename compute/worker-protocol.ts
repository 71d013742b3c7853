/** Messages between `ComputeWorker` and its thread. Every request is answered once, in order. */

import type { Tensor } from './tensor.ts'

export type TensorMap = Record<string, Tensor>

export interface SessionOptions {
  /** Threads of one run. @default 1 */
  readonly threads?: number
  /**
   * How far ONNX Runtime rewrites the graph. `all` fuses nodes, and keeps factors next to a matrix product in float32
   * even in a float64 graph; `basic` does not. @default 'all'
   */
  readonly optimization?: 'all' | 'basic'
  /**
   * ONNX Runtime's execution providers, tried in this order for every node; what none of them knows runs on the CPU. One that cannot
   * be had is an error (`findProviders` says which can). Numbers differ from one to the other in their last bits.
   * @default ['cpu']
   */
  readonly providers?: readonly string[]
}

/** An execution provider that cannot compute here. */
export interface PassedOver {
  readonly provider: string
  /** In one line. */
  readonly why: string
}

export type Request =
  /** Opens the model by each provider alone. */
  | { readonly kind: 'try-providers'; readonly model: Uint8Array; readonly providers: readonly string[] }
  | {
      readonly kind: 'open'
      readonly session: number
      readonly model: Uint8Array
      readonly options: Required<SessionOptions>
      /** The session whose state this one reads and moves on too. */
      readonly sharesStateOf: number | undefined
    }
  | {
      readonly kind: 'run'
      readonly session: number
      readonly feeds: TensorMap
      readonly outputs: readonly string[] | undefined
      /** Rows at a time, see `RunOptions.batch`. */
      readonly batch: number | undefined
      /** Whether the feeds' buffers come back with the answer. */
      readonly reclaim: boolean
    }
  /** Inputs that every later run of the session is fed with, unless it brings its own. */
  | { readonly kind: 'hold'; readonly session: number; readonly feeds: TensorMap }
  /** States not named stay as they are. */
  | { readonly kind: 'set-state'; readonly session: number; readonly state: TensorMap }
  | { readonly kind: 'get-state'; readonly session: number }
  | { readonly kind: 'close'; readonly session: number }

export type Message = Request & { readonly id: number }

export type Answer =
  | { readonly id: number; readonly ok: true; readonly result: WorkerResult }
  | { readonly id: number; readonly ok: false; readonly message: string; readonly stack: string | undefined }

export interface WorkerResult {
  readonly tensors: TensorMap
  /** The feeds of a run that asked for them. */
  readonly reclaimed?: TensorMap
  readonly inputNames?: readonly string[]
  readonly outputNames?: readonly string[]
  /** Of the providers that were tried: those that failed, and those that this build of ONNX Runtime knows. */
  readonly passedOver?: readonly PassedOver[]
  readonly known?: readonly string[]
}
