/** Runs `sidestream` in this process once for every list of words in the JSON given; prints exit code and stdout of each as JSON. */
import { running } from '../checkout.ts'

const main = running(new URL('../../cli/main.ts', import.meta.url)).href
const commands = JSON.parse(process.argv[2]!) as readonly (readonly string[])[]
const write = process.stdout.write.bind(process.stdout)
const answers: { readonly exit: number; readonly stdout: string }[] = []
for (const [n, words] of commands.entries()) {
  let stdout = ''
  process.stdout.write = (chunk: Uint8Array | string): boolean => {
    stdout += chunk.toString()
    return true
  }
  process.argv.splice(2, process.argv.length, ...words)
  process.exitCode = 0
  await import(`${main}?run=${n}`) // the module runs anew under every name
  answers.push({ exit: Number(process.exitCode), stdout })
}
process.exitCode = 0
write(JSON.stringify(answers))
