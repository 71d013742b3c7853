/** Checkpoints as bytes: nothing is lost, nothing half-read is believed. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { tensorOf, type Tensor } from '../../compute/index.ts'
import {
  decodeCheckpoint,
  decodeHead,
  decodeTensors,
  encodeCheckpoint,
  encodeHead,
  encodeTensors,
  type Checkpoint,
} from '../../distill/index.ts'
import { worldHead, worldItems } from './head-world.ts'

const checkpoint: Checkpoint = {
  head: worldHead(worldItems(12), { contentShare: 0.25, seed: 9 }),
  position: {
    trainedUntil: 1_506_902_400_000,
    round: 7,
    offsets: { '0': '9007199254740993' },
    step: 42,
    seeds: { rows: 3 },
    metrics: { loss: 1.5 },
  },
  training: {
    step: 42,
    options: { tau: 0.2 },
    tensors: new Map<string, Tensor>([
      ['optimizer/steps', tensorOf('float64', [], [42])],
      ['logTau', tensorOf('float32', [], [-1.6])],
    ]),
  },
}

test('a checkpoint comes back whole, through JSON for its summary', () => {
  const { parts, about } = encodeCheckpoint(checkpoint)
  deepStrictEqual(decodeCheckpoint({ parts, about: JSON.parse(JSON.stringify(about)) }), checkpoint)
})

test('the same checkpoint gives the same bytes', () => {
  deepStrictEqual(encodeCheckpoint(checkpoint), encodeCheckpoint(decodeCheckpoint(encodeCheckpoint(checkpoint))))
})

test('the head parts alone are enough to encode', () => {
  const { parts, about } = encodeCheckpoint(checkpoint)
  for (const name of [...parts.keys()]) if (name.startsWith('training')) parts.delete(name)
  deepStrictEqual(decodeHead(parts), checkpoint.head)
  strictEqual(decodeCheckpoint({ parts, about }).training, undefined)
  strictEqual(decodeCheckpoint(encodeCheckpoint(checkpoint), { training: false }).training, undefined)
  deepStrictEqual(encodeHead(checkpoint.head), parts)
})

test('tensors stand little-endian at multiples of 8', () => {
  const part = encodeTensors(
    new Map<string, Tensor>([
      ['a', tensorOf('float32', [3], [1, 2, 3])],
      ['b', tensorOf('int64', [1], [-2])],
    ]),
  )
  strictEqual(Buffer.from(part).toString('latin1', 0, 8), 'SSTENSOR')
  const directory = JSON.parse(Buffer.from(part).toString('utf8', 12, 12 + Buffer.from(part).readUInt32LE(8))) as {
    name: string
    offset: number
  }[]
  deepStrictEqual(
    directory.map(({ offset }) => offset),
    [0, 16],
  )
  strictEqual(Buffer.from(part).readBigInt64LE(part.length - 8), -2n)
  strictEqual(part.length % 8, 0)
})

test('a part cut short, missing, or of another kind is corrupt, never half-read', () => {
  const damage: ((parts: Map<string, Uint8Array>) => void)[] = [
    (parts) => parts.delete('head.json'),
    (parts) => parts.delete('head.tensors'),
    (parts) => parts.delete('training.tensors'),
    (parts) => parts.set('head.tensors', parts.get('head.tensors')!.subarray(0, -9)),
    (parts) => parts.set('head.tensors', parts.get('head.tensors')!.subarray(0, 20)),
    (parts) => parts.set('head.tensors', parts.get('head.json')!),
    (parts) => parts.set('head.json', Buffer.from('{"format":2}')),
    (parts) => parts.set('head.json', Buffer.from('{')),
  ]
  for (const [i, harm] of damage.entries()) {
    const { parts, about } = encodeCheckpoint(checkpoint)
    harm(parts)
    throws(() => decodeCheckpoint({ parts, about }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' }, `damage ${i}`)
  }
  const { parts } = encodeCheckpoint(checkpoint)
  throws(() => decodeCheckpoint({ parts, about: { kind: 'bundle' } }), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
})

test('decoded tensors own their memory', () => {
  const part = encodeTensors(new Map([['a', tensorOf('float32', [2], [1, 2])]]))
  const { data } = decodeTensors(part).get('a')!
  part.fill(0)
  ok(data[0] === 1 && data[1] === 2)
})
