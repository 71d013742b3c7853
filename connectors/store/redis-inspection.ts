/** What a server's own report says about the safety of data kept in it. Pure. */

/** Something about a store that its owner should know. */
export interface StoreFinding {
  /** `problem`: data can be lost or writes will fail; `advice`: worth a look. */
  readonly level: 'problem' | 'advice'
  /** What it is and what to do. */
  readonly message: string
}

/** Said of a server that wants no password, where one is given. */
export const noPasswordText =
  'asks for no password, though one is configured: whoever reaches it may read and write; give its default user a password, or configure none'

/**
 * Judges `INFO`.
 * @param info - its lines as a map
 * @param address - `host:port`, for the messages
 * @param asksForNoPassword - whether it lets in anybody, though a password is configured
 */
export function inspectServer(info: ReadonlyMap<string, string>, address: string, asksForNoPassword = false): StoreFinding[] {
  const findings: StoreFinding[] = []
  const at = `redis at ${address}`
  const tell = (level: StoreFinding['level'], message: string): void => void findings.push({ level, message: `${at} ${message}` })
  const major = Number.parseInt(info.get('redis_version') ?? '', 10)
  if (major < 7) {
    tell(
      'advice',
      `has version ${info.get('redis_version')}: before 7 it takes no version records once it is out of memory, so give it more before \`versions gc\``,
    )
  }
  const policy = info.get('maxmemory_policy')
  const maxMemory = Number(info.get('maxmemory') ?? 0)
  if (policy !== undefined && policy !== 'noeviction') {
    tell(
      'problem',
      `evicts keys when memory runs short (maxmemory-policy ${policy}), and with them parts of versions: set maxmemory-policy noeviction`,
    )
  }
  const used = Number(info.get('used_memory') ?? 0)
  if (maxMemory > 0 && used > 0.9 * maxMemory) {
    tell('problem', `uses ${used} of ${maxMemory} bytes: collect versions or raise maxmemory before a build fails`)
  }
  if (info.get('role') === 'slave') tell('problem', 'is a replica and takes no writes: give the address of its master')
  if (asksForNoPassword) tell('advice', noPasswordText)
  if (info.get('aof_enabled') === '0') {
    tell('advice', 'has no append-only file: a crash loses what was written since its last snapshot; set appendonly yes')
  }
  if (info.get('aof_last_write_status') === 'err' || info.get('rdb_last_bgsave_status') === 'err') {
    tell('problem', 'could not write to its disk: see its log; writes are refused or lost until that is mended')
  }
  return findings
}
