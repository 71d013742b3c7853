/**
 * Keeps one Kafka and one Redis running for tests, the demo and development of this checkout:
 *   npm run services -- start|stop|status [kafka] [redis] [--json]
 * Invariant: `--json` prints exactly one object on stdout, { "kafka": "host:port", "redis": "host:port" }, null where nothing runs.
 */
import { tsImport } from 'tsx/esm/api'

const usage = 'usage: npm run services -- start|stop|status [kafka] [redis] [--json]'
const services = await tsImport('../test/services/index.ts', import.meta.url)
const words = process.argv.slice(2).filter((word) => word !== '--json')
const json = process.argv.includes('--json')
const [action, ...rest] = words
const names = rest.length > 0 ? rest : services.serviceNames

if (!['start', 'stop', 'status'].includes(action) || names.some((name) => !services.serviceNames.includes(name))) {
  console.error(usage)
  process.exit(2)
}

if (action === 'start') {
  const kept = await services.keepServices(names).catch((error) => {
    console.error(error.message)
    process.exit(1)
  })
  const absent = [...kept.values()].filter((answer) => typeof answer !== 'string')
  for (const { missing } of absent) console.error(missing)
  if (absent.length > 0) process.exitCode = 1
}
if (action === 'stop') {
  const ran = await services.stopKeptServices(names)
  if (!json) console.log(ran.length > 0 ? `stopped: ${ran.join(', ')}` : 'nothing was running')
}
const addresses = Object.fromEntries(
  await Promise.all(services.serviceNames.map(async (name) => [name, (await services.keptService(name)) ?? null])),
)
if (json) console.log(JSON.stringify(addresses))
else if (action !== 'stop') for (const [name, address] of Object.entries(addresses)) console.log(`${name}: ${address ?? 'not running'}`)
