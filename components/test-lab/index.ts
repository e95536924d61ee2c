import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import { Breadcrumb } from "../../dynamic-providers/breadcrumb";

export interface TestLabArgs {
  readonly providers: { readonly admin: openstack.Provider; readonly demo: openstack.Provider };
  /** Name of the demo project, whose quotas are lifted. */
  readonly project: string;
  readonly image: string;
  readonly flavor: string;
  readonly instances: number;
  readonly volumeSizeGiB: number;
  /** `volume_backend_name`s of the backend for roots and of the pair. */
  readonly rootBackendName: string;
  readonly dataBackendName: string;
  /** Names of the sets in the order of their devices: the first is /dev/vdb of every instance, the next /dev/vdc, … */
  readonly dataVolumeSets: readonly string[];
  readonly publicKey: string;
  readonly breadcrumbs?: {
    readonly command: readonly string[];
    readonly timeoutSeconds: number;
    readonly written: readonly { readonly set: string; readonly stage: string }[];
  };
}

/** The scene of a drill: a project with instances, roots on a backend that stays up, data volumes on the pair. */
export class TestLab extends pulumi.ComponentResource {
  /** Name and id of each instance. */
  readonly instances: pulumi.Output<{ name: string; id: string }[]>;

  constructor(name: string, args: TestLabArgs, options?: pulumi.ComponentResourceOptions) {
    super("cinder-cheesecake:index:TestLab", name, {}, options);
    const asAdmin = { parent: this, provider: args.providers.admin };
    const asDemo = { parent: this, provider: args.providers.demo };

    const projectId = openstack.identity.getProjectOutput({ name: args.project }, asAdmin).id;
    const quotas = [
      new openstack.compute.QuotaSetV2(
        "compute",
        { projectId, instances: UNLIMITED, cores: UNLIMITED, ram: UNLIMITED },
        asAdmin,
      ),
      new openstack.blockstorage.QuoteSetV3("block-storage", { projectId, ...blockStorageQuotas }, asAdmin),
    ];
    const rootType = new openstack.blockstorage.VolumeTypeV3(
      "netapp_nfs",
      { name: "netapp_nfs", isPublic: true, extraSpecs: { volume_backend_name: args.rootBackendName } },
      asAdmin,
    );
    const dataType = new openstack.blockstorage.VolumeTypeV3(
      "netapp_iscsi",
      {
        name: "netapp_iscsi",
        isPublic: true,
        extraSpecs: { volume_backend_name: args.dataBackendName, replication_enabled: "<is> True" },
      },
      asAdmin,
    );
    const group = new openstack.networking.SecGroup("guests", { name: "guests", description: "ping and SSH" }, asDemo);
    for (const rule of ruleArgs)
      new openstack.networking.SecGroupRule(`guests-${rule.protocol}`, { ...rule, securityGroupId: group.id }, asDemo);
    const keyPair = new openstack.compute.Keypair("guests", { name: "guests", publicKey: args.publicKey }, asDemo);

    const imageId = openstack.images.getImageOutput({ name: args.image, mostRecent: true }, asDemo).id;
    const afterQuotas = { ...asDemo, dependsOn: quotas };
    const instances = instanceNames(args.instances).map((instanceName) => {
      const root = new openstack.blockstorage.Volume(
        `${instanceName}-root`,
        { name: `${instanceName}-root`, size: args.volumeSizeGiB, imageId, volumeType: rootType.name },
        afterQuotas,
      );
      const instance = new openstack.compute.Instance(
        instanceName,
        {
          name: instanceName,
          flavorName: args.flavor,
          keyPair: keyPair.name,
          // No network in the lab, so the security group has no port to be on.
          networkMode: "none",
          blockDevices: [
            {
              uuid: root.id,
              sourceType: "volume",
              destinationType: "volume",
              bootIndex: 0,
              deleteOnTermination: false,
            },
          ],
        },
        // Stopped by a switchover it must not be started by a refresh.
        { ...afterQuotas, ignoreChanges: ["powerState"] },
      );
      const attachments = attachInOrder(instanceName, instance, dataType.name, args, afterQuotas);
      writeBreadcrumbs(instanceName, attachments, args, this);
      return instance;
    });
    this.instances = pulumi
      .all(instances.map(({ name: instanceName, id }) => pulumi.all([instanceName, id])))
      .apply((all) => all.map(([instanceName, id]) => ({ name: instanceName, id })));
    this.registerOutputs({ instances: this.instances });
  }
}

const UNLIMITED = -1;
/** All of them: what isn't given the provider (terraform-provider-openstack 1.54.1) sends as 0. */
const blockStorageQuotas = {
  volumes: UNLIMITED,
  gigabytes: UNLIMITED,
  perVolumeGigabytes: UNLIMITED,
  snapshots: UNLIMITED,
  backups: UNLIMITED,
  backupGigabytes: UNLIMITED,
  groups: UNLIMITED,
};

const ruleArgs = [
  { protocol: "icmp", direction: "ingress", ethertype: "IPv4", remoteIpPrefix: "0.0.0.0/0" },
  {
    protocol: "tcp",
    direction: "ingress",
    ethertype: "IPv4",
    remoteIpPrefix: "0.0.0.0/0",
    portRangeMin: 22,
    portRangeMax: 22,
  },
];

/** guest-01, guest-02, …: they sort as they count. */
export function instanceNames(count: number): string[] {
  const digits = Math.max(2, String(count).length);
  return Array.from({ length: count }, (_, at) => `guest-${String(at + 1).padStart(digits, "0")}`);
}

/**
 * One volume of each set, attached one after another: the hypervisor gives the next free device name, so the order is
 * the device. The device isn't asked for, and an attachment that a switchover made anew has the same id (instance and volume).
 */
function attachInOrder(
  instanceName: string,
  instance: openstack.compute.Instance,
  volumeType: pulumi.Input<string>,
  args: TestLabArgs,
  options: pulumi.CustomResourceOptions,
): Map<string, openstack.compute.VolumeAttach> {
  const attachments = new Map<string, openstack.compute.VolumeAttach>();
  let former: openstack.compute.VolumeAttach | undefined;
  for (const set of args.dataVolumeSets) {
    const volume = new openstack.blockstorage.Volume(
      `${instanceName}-${set}`,
      { name: `${instanceName}-${set}`, size: args.volumeSizeGiB, volumeType },
      options,
    );
    former = new openstack.compute.VolumeAttach(
      `${instanceName}-${set}`,
      { instanceId: instance.id, volumeId: volume.id },
      { ...options, dependsOn: former === undefined ? [] : [former] },
    );
    attachments.set(set, former);
  }
  return attachments;
}

/** Stages of one device are written one after another; sets that don't exist yet are left for a later run. */
function writeBreadcrumbs(
  instance: string,
  attachments: ReadonlyMap<string, openstack.compute.VolumeAttach>,
  args: TestLabArgs,
  parent: pulumi.Resource,
): void {
  const { breadcrumbs } = args;
  if (breadcrumbs === undefined) return;
  const { command, timeoutSeconds } = breadcrumbs;
  let former: pulumi.Resource[] = [];
  for (const { set, stage } of breadcrumbs.written) {
    const attachment = attachments.get(set);
    if (attachment === undefined) continue;
    const crumb = new Breadcrumb(
      `${instance}-${set}-${stage}`,
      { instance, device: attachment.device, stage, command, timeoutSeconds },
      { parent, dependsOn: [attachment, ...former] },
    );
    former = [crumb];
  }
}
