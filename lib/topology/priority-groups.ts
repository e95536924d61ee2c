import { z } from "zod";

/** In which order instances are started, and, the other way round, stopped: as the operator writes it down. */

/** All instances that no group names. */
export const restName = "default";

const selectorSchema = z
  .strictObject({
    id: z.string().min(1).exactOptional(),
    /** All instances of this name. */
    name: z.string().min(1).exactOptional(),
    /** All instances that have each of these, by `openstack server set --property`. */
    metadata: z
      .record(z.string().min(1), z.string())
      .refine((metadata) => Object.keys(metadata).length > 0, "names no property")
      .exactOptional(),
  })
  .refine(
    ({ id, name, metadata }) => [id, name, metadata].filter((each) => each !== undefined).length === 1,
    "either id, name or metadata is needed, and only one of them",
  );
export type InstanceSelector = z.output<typeof selectorSchema>;

const priority = z.number().int().min(1).max(5);
/** Of a group without one, and of the instances that no group names: in the middle, as elsewhere in the field. */
export const defaultPriority = 3;

const groupSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "letters, digits, dots, dashes and underscores only")
    .refine((name) => name !== restName, "that's the name of the instances that no group names"),
  instances: z.array(selectorSchema).min(1),
  /** 1 is started first, and stopped last. */
  priority: priority.default(defaultPriority),
  /** Groups that run before this one is started; that counts more than priorities. */
  dependsOn: z.array(z.string().min(1)).default([]),
  /** Once its instances run, before anything else is started. */
  pauseAfterSeconds: z.number().int().positive().max(86_400).exactOptional(),
  /** Once its instances run: the run ends as waiting, and goes on when it's approved. */
  approveAfter: z.boolean().default(false),
});
export type PriorityGroup = z.output<typeof groupSchema>;

export const priorityGroupsSchema = z
  .array(groupSchema)
  .superRefine((groups, ctx) => {
    const names = groups.map(({ name }) => name);
    groups.forEach(({ name, dependsOn }, index) => {
      const fault = (key: string, message: string): void =>
        ctx.addIssue({ code: "custom", path: [index, key], message });
      if (names.indexOf(name) !== index) fault("name", `group "${name}" is declared twice`);
      for (const other of dependsOn) if (!names.includes(other)) fault("dependsOn", `there's no group "${other}"`);
    });
    const circle = startOrderOf(groups).circle.map(({ name }) => name);
    if (circle.length > 0)
      ctx.addIssue({ code: "custom", message: `these depend on each other in a circle: ${circle.join(", ")}` });
  })
  .default([]);

interface Ordered {
  readonly name: string;
  readonly priority: number;
  readonly dependsOn: readonly string[];
}

/**
 * Each after those that it depends on; of those that could be next the one of the highest priority, then the first one
 * declared. `circle` is what can't be ordered: in a circle, or behind one.
 */
export function startOrderOf<G extends Ordered>(
  groups: readonly G[],
): { readonly order: readonly G[]; readonly circle: readonly G[] } {
  const order: G[] = [];
  const known = new Set(groups.map(({ name }) => name));
  let left = [...groups];
  for (;;) {
    const begun = new Set(order.map(({ name }) => name));
    const [next] = left
      .filter(({ dependsOn }) => dependsOn.every((name) => begun.has(name) || !known.has(name)))
      .sort((a, b) => a.priority - b.priority);
    if (next === undefined) return { order, circle: left };
    order.push(next);
    left = left.filter((group) => group !== next);
  }
}
