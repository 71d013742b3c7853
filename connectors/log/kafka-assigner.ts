/**
 * How a group shares its partitions: each to a member that wants its topic, evenly, and where it was before as long as that is
 * even. Members say at every join what they have had; the one that leads the group decides with the same rule as the embedded log.
 */
import kafkajs from 'kafkajs'
import type { Assigner, GroupMember, GroupMemberAssignment, PartitionAssigner } from 'kafkajs'
import { assignPartitions } from './embedded-assignment.ts'
import { placeName } from './kafka-view.ts'
import type { TopicPartitionName } from './kafka-view.ts'

const { MemberMetadata, MemberAssignment } = kafkajs.AssignerProtocol
const version = 0

interface Wish {
  readonly memberId: string
  readonly topics: ReadonlySet<string>
  readonly owned: ReadonlySet<string>
}

/**
 * @param owned - places of this member at its last join
 * @param partitionCounts - of topics that exist
 */
export function stickyAssigner(
  owned: () => readonly TopicPartitionName[],
  partitionCounts: (topics: readonly string[]) => Promise<ReadonlyMap<string, number>>,
): PartitionAssigner {
  const assigner: Assigner = {
    name: 'sidestream-sticky',
    version,
    protocol: ({ topics }) => ({
      name: 'sidestream-sticky',
      metadata: MemberMetadata.encode({ version, topics, userData: Buffer.from(JSON.stringify(owned().map(placeName))) }),
    }),
    assign: async ({ members }) => {
      const wishes = members.map(wishOf).sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
      const wanted = [...new Set(wishes.flatMap(({ topics }) => [...topics]))].sort()
      return share(wishes, await partitionCounts(wanted))
    },
  }
  return () => assigner
}

function share(wishes: readonly Wish[], counts: ReadonlyMap<string, number>): GroupMemberAssignment[] {
  const partitions = [...counts].flatMap(([topic, count]) => Array.from({ length: count }, (_, partition) => ({ topic, partition })))
  const owners = assignPartitions<TopicPartitionName, Wish>({
    partitions,
    members: wishes,
    wants: ({ topics }, topic) => topics.has(topic),
    owner: (place) => wishes.find(({ owned }) => owned.has(placeName(place))),
  })
  return wishes.map((wish) => {
    const assignment: Record<string, number[]> = Object.create(null) as Record<string, number[]>
    for (const [i, { topic, partition }] of partitions.entries()) if (owners[i] === wish) (assignment[topic] ??= []).push(partition)
    return { memberId: wish.memberId, memberAssignment: MemberAssignment.encode({ version, assignment, userData: Buffer.alloc(0) }) }
  })
}

function wishOf({ memberId, memberMetadata }: GroupMember): Wish {
  const { topics, userData } = MemberMetadata.decode(memberMetadata) ?? { topics: [], userData: Buffer.alloc(0) }
  return { memberId, topics: new Set(topics), owned: new Set(namesOf(userData)) }
}

/** What a member says of itself is a wish: anything else than a list of names is none. */
function namesOf(userData: Buffer): string[] {
  try {
    const names: unknown = JSON.parse(userData.toString())
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
  } catch {
    return []
  }
}
