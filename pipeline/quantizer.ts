/**
 * The quantizer that the configuration asks for, beside the one that is live.
 * Invariant: codebooks that readers use never change their kind but by a declared re-base.
 */

import { refreshRefusal } from '../semantic-ids/index.ts'
import type { Bundle, QuantizerOptions } from '../semantic-ids/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { Logger } from './project.ts'

/** How first codebooks and re-bases are fitted. */
export function quantizerOptions({ semanticIds, training, seed }: Config, signal?: AbortSignal): QuantizerOptions {
  const { method, levels, normalize, normalizeResiduals, beam, balance, fsqDigits, iterations, rqVae } = semanticIds
  const shared = { sizes: levels, seed: semanticIds.seed ?? seed, threads: training.threads, ...(signal && { signal }) }
  if (method === 'rq-vae') return { ...shared, ...rqVae, method }
  return {
    ...{ ...shared, method, iterations, normalize, normalizeResiduals, beam },
    ...(balance !== null && { balance: { epsilonShare: balance } }),
    ...(fsqDigits !== null && { fsqDigits }),
  }
}

/** Whether the configuration declares a new ID space. */
export function isRebase({ semanticIds: { idSpace } }: Config, { origin }: Bundle): boolean {
  return idSpace !== null && idSpace !== origin.idSpace
}

/**
 * Checks that the live codebooks can be renewed as the configuration says, and tells what waits for a re-base.
 * @throws SIDESTREAM_BUILD_REFUSED when that takes a re-base
 */
export function checkRenewal(config: Config, live: Bundle, logger: Logger): void {
  if (isRebase(config, live)) return
  const { idSpace } = live.origin
  const why = refreshRefusal(live)
  if (why !== undefined)
    throw new SidestreamError(
      'SIDESTREAM_BUILD_REFUSED',
      `${why}. Declare a re-base: give semanticIds.idSpace another name than ${idSpace}, and restart; the live version goes on until then`,
      { idSpace },
    )
  tellPending(config, live, logger)
}

/** Says which options of the quantizer the live codebooks do not have. */
export function tellPending(config: Config, live: Bundle, logger: Logger): void {
  const pending = isRebase(config, live) ? [] : pendingOptions(config, live)
  if (pending.length === 0) return
  const { idSpace } = live.origin
  logger.warn(
    { idSpace, pending },
    `the live codebooks have another quantizer than the configuration: ${pending.join('; ')}. It takes effect with a re-base: give semanticIds.idSpace another name than ${idSpace}`,
  )
}

function pendingOptions({ semanticIds }: Config, { codebooks, settings, network }: Bundle): string[] {
  const { method, rqVae, ...wanted } = semanticIds
  const live = {
    levels: codebooks.sizes.slice(0, codebooks.levels.length),
    normalize: settings.normalize,
    normalizeResiduals: settings.normalizeResiduals ?? false,
    beam: settings.beam ?? 1,
    balance: codebooks.penalties !== undefined,
    fsqDigits: codebooks.fsq?.digits ?? null,
  }
  const differ = (key: string, now: unknown, then: unknown): string[] =>
    JSON.stringify(now) === JSON.stringify(then) ? [] : [`${key} ${JSON.stringify(now)}, not ${JSON.stringify(then)}`]
  const methods = differ('method', network === undefined ? 'rq-kmeans' : 'rq-vae', method)
  if (methods.length > 0) return methods
  if (network !== undefined) {
    const widths = network.layers.map(({ bias }) => bias.length)
    return [
      ...differ('levels', live.levels, wanted.levels),
      ...differ('rqVae.hidden', widths.slice(0, -1), rqVae.hidden),
      ...differ('rqVae.latentDim', widths.at(-1), rqVae.latentDim),
    ]
  }
  const asked = { ...wanted, balance: wanted.balance !== null }
  return Object.keys(live).flatMap((key) => differ(key, live[key as keyof typeof live], asked[key as keyof typeof live]))
}
