/** Builds dist/: plain tsc, then the Avro schemas beside their compiled room. */
import { execFileSync } from 'node:child_process'
import { cpSync, rmSync, chmodSync } from 'node:fs'

rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
cpSync('schemas/avro', 'dist/schemas/avro', { recursive: true })
chmodSync('dist/cli/main.js', 0o755)
