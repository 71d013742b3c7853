/** The configuration of examples/small-shop, with some of its text replaced. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const configFile = new URL('../../examples/small-shop/sidestream.yaml', import.meta.url)

/** Writes the configuration as `name`; every text that is to be replaced must be there. */
export async function writeConfig(
  directory: string,
  name = 'sidestream.yaml',
  changes: Readonly<Record<string, string>> = {},
): Promise<void> {
  let text = await readFile(configFile, 'utf8')
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`the configuration has no "${from}"`)
    text = text.replace(from, to)
  }
  await writeFile(join(directory, name), text)
}
