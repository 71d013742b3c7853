import { deepStrictEqual, ok } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'

import { inspectServer } from '../../../connectors/store/redis-inspection.ts'
import { clusterRules, leastRules } from './redis-users.ts'
import { checkout } from '../../checkout.ts'

const well = new Map([
  ['redis_version', '7.4.1'],
  ['maxmemory_policy', 'noeviction'],
  ['maxmemory', '1000'],
  ['used_memory', '500'],
  ['role', 'master'],
  ['aof_enabled', '1'],
  ['aof_last_write_status', 'ok'],
  ['rdb_last_bgsave_status', 'ok'],
])

test('a server that is as it should be gives no finding; each thing that is not gives one, with what to do', () => {
  deepStrictEqual(inspectServer(well, 'redis:6379'), [])
  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ['redis_version', '6.2.14', /advice .* version 6\.2\.14/],
    ['maxmemory_policy', 'volatile-lru', /problem .* set maxmemory-policy noeviction/],
    ['used_memory', '950', /problem .* 950 of 1000 bytes: collect versions/],
    ['role', 'slave', /problem .* address of its master/],
    ['aof_enabled', '0', /advice .* set appendonly yes/],
    ['rdb_last_bgsave_status', 'err', /problem .* its disk/],
  ]
  for (const [field, value, told] of wrong) {
    const findings = inspectServer(new Map([...well, [field, value]]), 'redis:6379').map(({ level, message }) => `${level} ${message}`)
    deepStrictEqual([findings.length, told.test(findings[0]!)], [1, true], `${field} ${value}: ${findings.join()}`)
  }
})

test('the documented user is the one that the contract is run with', async () => {
  const page = await readFile(new URL('docs/reference/redis-store.md', checkout), 'utf8')
  ok(page.includes(`user sidestream on >PASSWORD ${leastRules}\n`))
  ok(page.includes(`\n${clusterRules}\n`))
})
