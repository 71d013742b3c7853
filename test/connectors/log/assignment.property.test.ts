import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import { assignPartitions } from '../../../connectors/log/embedded-assignment.ts'

interface Part {
  readonly topic: string
  readonly index: number
}

const topics = ['a', 'b', 'c', 'd']
const partitions: Part[] = topics.flatMap((topic, t) => Array.from({ length: [6, 1, 4, 1][t]! }, (_, index) => ({ topic, index })))

/** Members by name, each with the topics it wants. */
const change = fc.oneof(
  { weight: 2, arbitrary: fc.record({ join: fc.subarray(topics, { minLength: 1 }) }) },
  { weight: 1, arbitrary: fc.record({ leave: fc.nat() }) },
)

interface Member {
  readonly id: number
  readonly wants: readonly string[]
}

function assign(members: readonly Member[], owners: readonly (Member | undefined)[]): (Member | undefined)[] {
  const known = new Set(members)
  const owner = (partition: Part): Member | undefined => {
    const before = owners[partitions.indexOf(partition)]
    return before !== undefined && known.has(before) ? before : undefined
  }
  return assignPartitions({ partitions, members, wants: (member, topic) => member.wants.includes(topic), owner })
}

test('every partition that a member wants has an owner that wants it, and counts per topic are even', () => {
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
      let members: Member[] = []
      let owners: (Member | undefined)[] = partitions.map(() => undefined)
      for (const [id, one] of changes.entries()) {
        if ('join' in one) members = [...members, { id, wants: one.join }]
        else members = members.filter((_, i) => i !== one.leave % Math.max(members.length, 1))
        const before = owners
        owners = assign(members, before)
        deepStrictEqual(assign(members, before), owners, 'the same input gives the same owners')
        deepStrictEqual(assign(members, owners), owners, 'nothing moves when nothing changes')
        for (const [i, owner] of owners.entries()) {
          const wanting = members.filter(({ wants }) => wants.includes(partitions[i]!.topic))
          strictEqual(owner === undefined, wanting.length === 0)
          if (owner !== undefined) ok(wanting.includes(owner))
        }
        for (const topic of topics) {
          const counts = members
            .filter(({ wants }) => wants.includes(topic))
            .map((member) => owners.filter((owner, i) => owner === member && partitions[i]!.topic === topic).length)
          ok(counts.length === 0 || Math.max(...counts) - Math.min(...counts) <= 1, `${topic}: ${counts.join()}`)
        }
      }
    }),
  )
})

test('members that want the same have counts that differ by one at most, in all', () => {
  for (let count = 1; count <= 6; count++) {
    const members: Member[] = []
    let owners: (Member | undefined)[] = partitions.map(() => undefined)
    for (let id = 0; id < count; id++) {
      members.push({ id, wants: topics })
      owners = assign(members, owners)
    }
    const counts = members.map((member) => owners.filter((owner) => owner === member).length)
    ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join())
  }
})

test('with one topic, a join takes partitions for the new member only, and a leave moves those of the one that left', () => {
  const only = partitions.filter(({ topic }) => topic === 'a')
  const settle = (members: readonly string[], owners: readonly (string | undefined)[]): (string | undefined)[] =>
    assignPartitions<Part, { id: string }>({
      partitions: only,
      members: members.map((id) => byName(id)),
      wants: () => true,
      owner: (partition) => {
        const id = owners[only.indexOf(partition)]
        return id !== undefined && members.includes(id) ? byName(id) : undefined
      },
    }).map((owner) => owner?.id)
  const one = settle(['ann'], [])
  const two = settle(['ann', 'bob'], one)
  const three = settle(['ann', 'bob', 'cy'], two)
  deepStrictEqual(
    [one, two, three, settle(['ann', 'cy'], three)],
    [
      ['ann', 'ann', 'ann', 'ann', 'ann', 'ann'],
      ['ann', 'ann', 'ann', 'bob', 'bob', 'bob'],
      ['ann', 'ann', 'cy', 'bob', 'bob', 'cy'],
      ['ann', 'ann', 'cy', 'ann', 'cy', 'cy'],
    ],
  )
})

const names = new Map<string, { id: string }>()
function byName(id: string): { id: string } {
  if (!names.has(id)) names.set(id, { id })
  return names.get(id)!
}
