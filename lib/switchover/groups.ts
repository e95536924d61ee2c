import type { InstanceSelector } from "../topology/priority-groups";
import { defaultPriority, restName, startOrderOf } from "../topology/priority-groups";
import type { SitePair } from "../topology/site-pair";
import type { Observation } from "./observation";
import type { Server } from "./ports";

/** Which instances are started one after another, and stopped in the reverse order. Pure. */

export interface PlannedGroup {
  readonly name: string;
  readonly serverIds: readonly string[];
  readonly pauseAfterSeconds?: number;
  readonly approveAfter?: true;
}

const hasGroups = ({ openstack }: SitePair): boolean => openstack.priorityGroups.length > 0;

function selects({ id, name, metadata = {} }: InstanceSelector, server: Server): boolean {
  if (id !== undefined) return server.id === id;
  if (name !== undefined) return server.name === name;
  return Object.entries(metadata).every(([key, value]) => server.metadata?.[key] === value);
}

/**
 * In the order of their start, those without an instance left out; undefined where none is declared, or nothing to start. An instance that two
 * groups name, which a planned switchover refuses, is the one's that is started first.
 */
export function groupsOf(
  { pair, servers }: Pick<Observation, "pair" | "servers">,
  moved: readonly { readonly id: string }[],
): readonly PlannedGroup[] | undefined {
  if (!hasGroups(pair) || moved.length === 0) return undefined;
  const left = new Map(servers.map((server) => [server.id, server]));
  const rest = { name: restName, instances: [], priority: defaultPriority, dependsOn: [] };
  const { order } = startOrderOf<Declared>([...pair.openstack.priorityGroups, rest]);
  const named = new Map(
    order.map((group) => {
      const ours = moved.filter(({ id }) => {
        const server = left.get(id);
        return server !== undefined && group.instances.some((selector) => selects(selector, server));
      });
      for (const { id } of ours) left.delete(id);
      return [group.name, ours.map(({ id }) => id)];
    }),
  );
  const taken = new Set([...named.values()].flat());
  named.set(
    restName,
    moved.flatMap(({ id }) => (taken.has(id) ? [] : [id])),
  );
  return order
    .map(({ name, pauseAfterSeconds, approveAfter }): PlannedGroup => ({
      name,
      serverIds: named.get(name) ?? [],
      ...(pauseAfterSeconds === undefined ? {} : { pauseAfterSeconds }),
      ...(approveAfter === true ? { approveAfter } : {}),
    }))
    .filter(({ serverIds }) => serverIds.length > 0);
}

interface Declared {
  readonly name: string;
  readonly instances: readonly InstanceSelector[];
  readonly priority: number;
  readonly dependsOn: readonly string[];
  readonly pauseAfterSeconds?: number;
  readonly approveAfter?: boolean;
}

/** What the systems tell about them, in words: ids and names that fit nothing, instances of two groups, properties that nobody has. */
export function groupFaults({ pair, servers }: Pick<Observation, "pair" | "servers">): {
  readonly unknown: readonly string[];
  readonly overlaps: readonly string[];
  readonly idle: readonly string[];
} {
  const unknown: string[] = [];
  const idle: string[] = [];
  const groupsByServer = new Map<string, string[]>();
  for (const { name, instances } of pair.openstack.priorityGroups) {
    const members = new Set<string>();
    for (const selector of instances) {
      const found = servers.filter((server) => selects(selector, server));
      for (const { id } of found) members.add(id);
      // Properties come and go with instances; ids and names are of one that should be there.
      if (found.length === 0)
        (selector.metadata === undefined ? unknown : idle).push(
          `group "${name}": no instance with volumes of the pair has ${wordsOf(selector)}`,
        );
    }
    for (const id of members) groupsByServer.set(id, [...(groupsByServer.get(id) ?? []), `"${name}"`]);
  }
  const overlaps = servers.flatMap(({ id, name }) => {
    const groups = groupsByServer.get(id) ?? [];
    return groups.length > 1 ? [`instance "${name}" (${id}) is in the groups ${groups.join(" and ")}`] : [];
  });
  return { unknown, overlaps, idle };
}

const wordsOf = ({ id, name, metadata = {} }: InstanceSelector): string =>
  id !== undefined
    ? `the id ${id}`
    : name !== undefined
      ? `the name "${name}"`
      : Object.entries(metadata)
          .map(([key, value]) => `${key}=${value}`)
          .join(" and ");
