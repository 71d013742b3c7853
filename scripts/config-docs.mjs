// Writes docs/reference/configuration.md from the schema: node --import tsx scripts/config-docs.mjs
import { mkdirSync, writeFileSync } from 'node:fs'
import { configReference } from '../schemas/index.ts'

const target = new URL('../docs/reference/configuration.md', import.meta.url)
mkdirSync(new URL('.', target), { recursive: true })
writeFileSync(target, configReference())
