/** Builds dist/: plain tsc, then the Avro schemas and gRPC services beside their compiled room. */
import { execFileSync } from 'node:child_process'
import { cpSync, rmSync, chmodSync } from 'node:fs'

rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
for (const folder of ['avro', 'proto']) cpSync(`schemas/${folder}`, `dist/schemas/${folder}`, { recursive: true })
chmodSync('dist/cli/main.js', 0o755)
