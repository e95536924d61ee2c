/**
 * Where everything of a lab listens. A lab owns one /24 of the loopback network, so the port numbers are the usual ones
 * in every lab. They can't be moved anyway: NetApp's driver hard-codes 3260 for iSCSI (Cinder 29,
 * netapp/dataontap/block_base.py).
 */
export interface Addresses {
  /** All OpenStack services, the database and the message queue. */
  control: string;
  clusterManagement: { iprod: string; idr: string };
  iscsi: { iprod: string[]; idr: string[] };
  intercluster: { iprod: string; idr: string };
  arrayControl: string;
  /** RabbitMQ's Erlang ports are on 127.0.0.1, where epmd always listens too: so they differ by slot. */
  erlang: { epmdPort: number; distributionPort: number };
}

export const LAST_SLOT = 16 * 256 - 1;

export function addressesOf(slot: number): Addresses {
  if (!Number.isInteger(slot) || slot < 1 || slot > LAST_SLOT) throw new RangeError(`slot ${slot} is not a lab's slot`);
  const network = `127.${64 + Math.floor(slot / 256)}.${slot % 256}`;
  return {
    control: `${network}.1`,
    clusterManagement: { iprod: `${network}.10`, idr: `${network}.11` },
    iscsi: { iprod: [`${network}.20`, `${network}.21`], idr: [`${network}.30`, `${network}.31`] },
    intercluster: { iprod: `${network}.40`, idr: `${network}.41` },
    arrayControl: `${network}.12`,
    erlang: { epmdPort: 24_000 + slot, distributionPort: 28_100 + slot },
  };
}

export const ports = {
  database: 3306,
  messageQueue: 5672,
  keystone: 5000,
  nova: 8774,
  cinder: 8776,
  placement: 8778,
  glance: 9292,
  neutron: 9696,
  ontap: 8443,
  arrayControl: 8080,
} as const;
