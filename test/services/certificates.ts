/** A certificate for the loopback interface and the authority that signed it, both new each time, made with openssl. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Certificate {
  /** PEM texts: of the authority, of the server, and the server's private key (PKCS 8). */
  readonly ca: string
  readonly cert: string
  readonly key: string
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
}

/** Makes an authority and a server certificate for `localhost` and 127.0.0.1 in a new folder of `directory`. */
export async function certificate(directory: string): Promise<Certificate> {
  const folder = await mkdtemp(join(directory, 'certificate-'))
  const at = (name: string): string => join(folder, name)
  const [caFile, certFile, keyFile] = [at('ca.pem'), at('server.pem'), at('server.key')]
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const authority = ['-x509', '-days', '30', '-subj', '/CN=sidestream test authority', '-keyout', at('ca.key'), '-out', caFile]
  await run('openssl', ['req', ...newKey, ...authority])
  await run('openssl', ['req', ...newKey, '-subj', '/CN=localhost', '-keyout', keyFile, '-out', at('server.csr')])
  await writeFile(at('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
  const signing = ['-CA', caFile, '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '30', '-extfile', at('names')]
  await run('openssl', ['x509', '-req', '-in', at('server.csr'), ...signing, '-out', certFile])
  const [ca, cert, key] = (await Promise.all([caFile, certFile, keyFile].map((file) => readFile(file, 'utf8')))) as [string, string, string]
  return { ca, cert, key, caFile, certFile, keyFile }
}
