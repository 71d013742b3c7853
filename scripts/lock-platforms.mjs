/**
 * Completes package-lock.json with the optional binaries of other platforms. A registry mirror that holds only some platforms
 * makes `npm install` leave the others out, and `npm ci` then refuses the lock file. Run it after every change of dependencies.
 * Invariant: an entry is added only where a package pins an exact version of a platform package; nothing is changed or removed.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const systems = {
  darwin: 'darwin',
  linux: 'linux',
  win32: 'win32',
  android: 'android',
  freebsd: 'freebsd',
  openharmony: 'openharmony',
  netbsd: 'netbsd',
  openbsd: 'openbsd',
  sunos: 'sunos',
  aix: 'aix',
}
const processors = ['arm64', 'x64', 'ia32', 'arm', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el', 'wasm32']

const file = 'package-lock.json'
const lock = JSON.parse(readFileSync(file, 'utf8'))
let added = 0
for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`
    if (lock.packages[path] !== undefined || !/^\d+\.\d+\.\d+[\w.-]*$/.test(version)) continue
    const words = name.split(/[/-]/)
    const os = words.map((word) => systems[word]).find((word) => word !== undefined)
    const cpu = processors.find((processor) => words.includes(processor))
    if (os === undefined && cpu !== 'wasm32') throw new Error(`${name}: no platform in its name; add it by hand`)
    lock.packages[path] = {
      version,
      ...(cpu !== undefined && { cpu: [cpu] }),
      ...(parent.dev === true && { dev: true }),
      ...(words.includes('musl') && { libc: ['musl'] }),
      ...(words.includes('gnu') && os === 'linux' && { libc: ['glibc'] }),
      optional: true,
      ...(os !== undefined && { os: [os] }),
    }
    added++
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(file, `${JSON.stringify(lock, undefined, 2)}\n`)
console.log(`${added} platform packages added`)
