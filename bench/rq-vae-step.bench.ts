/**
 * A training step of an RQ-VAE: d 768, 512-256-64, 3 x 256, batches of 1,024, straight-through, codebooks by gradient, Adam; the step in
 * the worker alone, with its batch made before. Peer with `--peers DIR --python FILE`: PyTorch (`torch_rqvae.py`), in turns in the same
 * run. `others` is the share of the machine that other processes used: with more than a tenth the ratio says little of the code, and
 * processor time a step is the better figure.
 * Options: `--threads N` (2), `--rounds N` (5), `--steps N` (30).
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fillNormal, tensor, tensorOf, TrainingSession } from '../compute/index.ts'
import { initialParameters, stepGraph, type RqVaeShape } from '../semantic-ids/rq-vae-graph.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values } = parseArgs({
  options: {
    peers: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '30' },
  },
})
const threads = Number(values.threads)
const steps = Number(values.steps)
const shape: RqVaeShape = { inputDim: 768, hidden: [512, 256], latentDim: 64, sizes: [256, 256, 256] }
const batch = 1024

const options = { commitment: 0.25, estimator: 'straight-through', codebooks: 'gradient', emaDecay: 0.99, weightDecay: 0 } as const
const initial = initialParameters(shape, 1, options)
for (const [level] of shape.sizes.entries()) {
  const words = initial[`codebook/${level}`]!.data
  fillNormal(words, 2, level)
  words.forEach((value, at) => (words[at] = 0.1 * value))
}
const session = await TrainingSession.create(stepGraph(shape, initial, options), { threads })
const x = new Float32Array(batch * shape.inputDim)
fillNormal(x, 3, 0)

interface Round {
  readonly ms: number
  readonly cpuMs: number
}

async function ourRound(): Promise<Round> {
  const times: number[] = []
  const cpu = process.cpuUsage()
  for (let step = 0; step < steps; step++) {
    const feeds = { x: tensor('float32', [batch, shape.inputDim], x.slice()), rate: tensorOf('float32', [], [1e-3]) }
    const start = performance.now()
    await session.step(feeds, { transfer: true })
    times.push(performance.now() - start)
  }
  const { user, system } = process.cpuUsage(cpu)
  return { ms: median(times), cpuMs: (user + system) / 1000 / steps }
}

function peerRound(peers: string): Round {
  const args = [join(peers, 'torch_rqvae.py'), '--threads', values.threads, '--steps', values.steps]
  const line = JSON.parse(execFileSync(values.python, args, { encoding: 'utf8' }).trim().split('\n').at(-1)!)
  return { ms: line.ms_per_step, cpuMs: line.cpu_ms_per_step }
}

const others = watchOthers()
await ourRound()
const ours: Round[] = []
const theirs: Round[] = []
for (let round = 0; round < Number(values.rounds); round++) {
  ours.push(await ourRound())
  if (values.peers !== undefined) theirs.push(peerRound(values.peers))
}
const line: Record<string, unknown> = {
  bench: `rq-vae step d${shape.inputDim} ${[...shape.hidden, shape.latentDim].join('-')} ${shape.sizes.length}x${shape.sizes[0]} B${batch}, ${threads} threads`,
  'step ms': figure(median(ours.map(({ ms }) => ms))),
  'cpu ms': figure(median(ours.map(({ cpuMs }) => cpuMs))),
}
if (theirs.length > 0) {
  const ratios = theirs.map(({ ms }, round) => ms / ours[round]!.ms)
  Object.assign(line, {
    peer: 'PyTorch',
    'peer step ms': figure(median(theirs.map(({ ms }) => ms))),
    'peer cpu ms': figure(median(theirs.map(({ cpuMs }) => cpuMs))),
    ratio: figure(median(ratios)),
    ratios: ratios.map(figure),
    'cpu ratio': figure(median(theirs.map(({ cpuMs }, round) => cpuMs / ours[round]!.cpuMs))),
  })
} else process.stderr.write('PyTorch was left out: name its scripts with --peers DIR --python FILE\n')
process.stdout.write(`${JSON.stringify({ ...line, others: others(), rounds: Number(values.rounds), node: process.version })}\n`)
await session.close()
