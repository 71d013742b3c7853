/**
 * Metrics and health over HTTP: `GET /metrics` (Prometheus text) and `GET /health`. Off while `metrics.port` is 0.
 * Invariant: what is served are counts and times, never ids, vectors or secrets.
 */

import { timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { Gauge, Registry } from 'prom-client'
import { SidestreamError } from '../schemas/index.ts'
import type { Daemon } from './daemon.ts'
import type { Project } from './project.ts'

export interface MetricsServer {
  readonly url: string
  close(): Promise<void>
}

/**
 * Starts the server, or answers undefined when it is off.
 * @throws SIDESTREAM_ADDRESS_IN_USE
 */
export async function startMetrics({ config }: Project, daemon: Daemon): Promise<MetricsServer | undefined> {
  const { host, port, token } = config.metrics
  if (port === 0) return undefined
  const registry = await registryOf(daemon)
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      if (request.url === '/health') {
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify({ live: (await daemon.status()).live }))
      } else if (request.url === '/metrics' && mayRead(request, token)) {
        response.setHeader('content-type', registry.contentType)
        response.end(await registry.metrics())
      } else {
        response.statusCode = request.url === '/metrics' ? 401 : 404
        response.end()
      }
    }
    answer().catch(() => {
      response.statusCode = 500
      response.end()
    })
  })
  await listen(server, host, port)
  return {
    url: `http://${host}:${port}`,
    close: () => new Promise((resolve) => void (server.closeAllConnections(), server.close(() => resolve()))),
  }
}

function mayRead({ headers }: IncomingMessage, token: string | null): boolean {
  if (token === null) return true
  const given = Buffer.from(headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${token}`)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const busy = cause.code === 'EADDRINUSE'
      const message = busy
        ? `${host}:${port} is in use: stop the other process or set metrics.port`
        : `cannot listen on ${host}:${port}: ${cause.message}`
      reject(new SidestreamError('SIDESTREAM_ADDRESS_IN_USE', message, { cause, host, port }))
    })
    server.listen(port, host, () => resolve())
  })
}

async function registryOf(daemon: Daemon): Promise<Registry> {
  const client = await import('prom-client') // loaded by those who serve metrics
  const registry = new client.Registry()
  const gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
    new client.Gauge({ name: `sidestream_${name}`, help, labelNames, registers: [registry] })
  const live = gauge('live_version', 'Version that readers see')
  const lag = gauge('lag_records', 'Records behind the end of the log', ['lane'])
  const ingested = gauge('ingest_records', 'Interactions by what became of them', ['outcome'])
  const owned = gauge('owner_records', 'Records of the content and sample lanes by what became of them', ['outcome'])
  const sets = gauge('sample_sets', 'Histories, rows and items of each sample set by what became of them', ['set', 'outcome'])
  const training = gauge('training', 'The newest round by source: rows, steps, mean loss, temperature, share of the draw, lambda*', [
    'source',
    'figure',
  ])
  const trained = gauge('training_rows_per_second', 'Rows of the newest round by the time it took')
  const roundDiverged = gauge('training_diverged', '1 when the newest round was passed over because training diverged, else 0')
  const diverged = gauge('training_diverged_rounds', 'Rounds that were passed over because training diverged')
  const refused = gauge('judged_refused', '1 when the newest judgment refused its head, else 0')
  const judged = gauge('judged', 'Figures of the newest judgment, of the candidate and of what it was held against', ['set', 'figure'])
  const drift = gauge('semantic_id_drift', 'How the live codebooks serve new items, at the end of the newest round', ['figure'])
  const proposed = gauge('refresh_proposed', '1 when drift of the semantic IDs proposes a refresh')
  const freshness = gauge('freshness_ms', 'From log append to readable, milliseconds', ['quantile'])
  registry.setDefaultLabels({})
  live.reset()
  const collect = async (): Promise<void> => {
    const status = await daemon.status()
    if (status.live !== null) live.set(status.live)
    for (const [lane, behind] of Object.entries(status.lag)) lag.set({ lane }, behind)
    for (const [outcome, count] of Object.entries(status.ingest ?? {})) ingested.set({ outcome }, count)
    for (const [outcome, count] of Object.entries(status.owner ?? {})) owned.set({ outcome }, count)
    for (const [set, counts] of Object.entries(status.sets ?? {})) {
      for (const [outcome, count] of Object.entries(counts)) sets.set({ set, outcome }, count)
    }
    training.reset() // a source that dried up is not shown with what it was
    if (status.training !== null) {
      const { sources, lambda, rowsPerSecond } = status.training
      for (const [source, figures] of Object.entries(sources)) {
        for (const [figure, value] of Object.entries(figures)) training.set({ source, figure }, value)
      }
      for (const [source, value] of Object.entries(lambda)) training.set({ source, figure: 'lambda' }, value)
      trained.set(rowsPerSecond)
    }
    if (status.diverged !== null) {
      roundDiverged.set(status.diverged.newest === null ? 0 : 1)
      diverged.set(status.diverged.rounds)
    }
    if (status.judged !== null) refused.set(status.judged.verdict === 'refused' ? 1 : 0)
    judged.reset() // a figure that could not be measured this time is not shown with what it was
    for (const [set, figures] of Object.entries(status.judged?.figures ?? {})) {
      for (const [figure, value] of Object.entries(figures ?? {})) if (value !== null) judged.set({ set, figure }, value)
    }
    drift.reset()
    for (const [figure, value] of Object.entries(status.drift?.figures ?? {})) if (value !== null) drift.set({ figure }, value)
    proposed.set((status.drift?.reasons.length ?? 0) > 0 ? 1 : 0)
    for (const [quantile, ms] of [
      ['0.5', status.freshness.p50Ms],
      ['0.99', status.freshness.p99Ms],
    ] as const)
      freshness.set({ quantile }, ms)
  }
  const metrics = registry.metrics.bind(registry)
  registry.metrics = async () => {
    await collect()
    return metrics()
  }
  return registry
}
