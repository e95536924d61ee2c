import { readFileSync } from "node:fs";
import type { PairSecrets, SitePairInput } from "../lib/topology/site-pair";
import type { LabArray, LabController, LabDescription } from "./lab";
import { readSecret } from "./lab";

/** The pair of sites as an operator of this lab would write it down. */
export function pairOfLab(lab: LabDescription): SitePairInput {
  const site = (array: LabArray, backend: string) => ({
    backend,
    svm: array.svm,
    ontap: {
      address: array.address,
      port: array.port,
      username: array.username,
      caFile: lab.caFile,
      interclusterAddresses: array.interclusterAddresses,
    },
    // A lab's volumes are sparse, and its patience short.
    stanza: {
      netapp_lun_space_reservation: "disabled",
      max_over_subscription_ratio: "20",
      netapp_snapmirror_quiesce_timeout: "60",
    },
  });
  const controller = ({ name, cinderConf, services }: LabController) => {
    const command = (verb: string): string[] => [
      lab.serviceManager,
      "--lab",
      lab.dir,
      "--host",
      name,
      verb,
      "{service}",
    ];
    return {
      kind: "local" as const,
      name,
      cinderConf,
      services: {
        manager: "custom" as const,
        commands: {
          start: command("start"),
          stop: command("stop"),
          mask: command("mask"),
          unmask: command("unmask"),
          isActive: command("is-active"),
          isMasked: command("is-masked"),
        },
        units: services.map((service) => ({
          role: service.name.replace("cinder-", "") as "api" | "scheduler" | "volume",
          unit: service.name,
          startedHere: service.started,
          logFile: service.log,
        })),
      },
    };
  };
  return {
    name: "netapp_iscsi",
    sites: { iprod: site(lab.arrays.iprod, "iprod"), idr: site(lab.arrays.idr, "idr") },
    flexVols: lab.arrays.iprod.flexVols.map((flexVol) => flexVol.name),
    cinder: {
      volumeHost: lab.volumeHost,
      controllers: lab.controllers.map(controller),
      database: { host: lab.database.host, port: lab.database.port, user: lab.database.product.user, tls: false },
      messageQueue: {
        host: lab.messageQueue.host,
        port: lab.messageQueue.port,
        user: lab.messageQueue.user,
        vhost: lab.messageQueue.vhost,
        tls: false,
      },
    },
    novaManage: {
      controller: lab.controllers[0]?.name ?? "",
      command: [lab.novaManage.program, "--config-file", lab.novaManage.novaConf],
    },
    openstack: {
      authUrl: lab.endpoints.identity,
      region: lab.region,
      credential: { kind: "applicationCredential", id: applicationCredential(lab).id },
    },
  };
}

export function secretsOfLab(lab: LabDescription): PairSecrets {
  return {
    ontapPasswords: { iprod: readSecret(lab.arrays.iprod.passwordFile), idr: readSecret(lab.arrays.idr.passwordFile) },
    databasePassword: readSecret(lab.database.product.passwordFile),
    messageQueuePassword: readSecret(lab.messageQueue.passwordFile),
    openstackSecret: applicationCredential(lab).secret,
  };
}

function applicationCredential(lab: LabDescription): { id: string; secret: string } {
  return JSON.parse(readFileSync(lab.applicationCredentialFile, "utf8")) as { id: string; secret: string };
}
