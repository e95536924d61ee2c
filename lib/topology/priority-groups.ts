import { z } from "zod";

/** In which order instances are started, and, the other way round, stopped: as the operator writes it down. */

/** All instances that no group names. */
export const restName = "default";

const selectorSchema = z
  .strictObject({
    id: z.string().min(1).exactOptional().meta({ title: "id", description: "This one." }),
    name: z.string().min(1).exactOptional().describe("All of this name."),
    metadata: z
      .record(z.string().min(1), z.string())
      .refine((metadata) => Object.keys(metadata).length > 0, "names no property")
      .exactOptional()
      .meta({ title: "texts by name", description: "All that have each of these properties." }),
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
    .refine((name) => name !== restName, "that's the name of the instances that no group names")
    .meta({ title: "name", description: "Unique; not `default`, which is all that no group names." }),
  instances: z.array(selectorSchema).min(1).describe("Each names instances by one of the following."),
  priority: priority
    .default(defaultPriority)
    .meta({ title: "1 to 5", description: "1 is started first, and stopped last." }),
  dependsOn: z
    .array(z.string().min(1))
    .default([])
    .meta({ title: "list of names", description: "Groups that run before; counts more than priorities." }),
  pauseAfterSeconds: z
    .number()
    .int()
    .positive()
    .max(86_400)
    .exactOptional()
    .describe("Once its instances are ACTIVE, before the next group."),
  approveAfter: z
    .boolean()
    .default(false)
    .describe(
      "Once its instances are ACTIVE the run ends, and goes on when it's [approved](hooks.md#pauses-and-approvals).",
    ),
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
  .default([])
  .describe("Without any all instances are one group.");

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
