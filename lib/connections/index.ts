import { CinderClient } from "../cinder/client";
import { connectCinderDatabase } from "../cinder-database";
import { connectController, connectNovaManage } from "../controller-host";
import { KeystoneSession } from "../keystone/session";
import { MessageQueue } from "../message-queue";
import { NovaClient } from "../nova/client";
import { OntapClient } from "../ontap/client";
import * as osloConfig from "../oslo-config";
import { retries } from "../retries";
import type { Ports } from "../switchover/ports";
import type { PairSecrets, SitePair } from "../topology/site-pair";
import { siteNames, siteOf } from "../topology/site-pair";
import { hookRunner } from "./hooks";
import { withRowsWhereUnreachable } from "./rows-where-unreachable";
import { systemClock } from "./system-clock";

/** The pair's systems, as the engine sees them. */
export interface Connections {
  readonly ports: Ports;
  /** Ends every connection. Nothing of it may be used afterwards. */
  close(): Promise<void>;
}

/** Clients of the whole pair, put together for the engine. Nothing connects before it's used. */
export function connect(pair: SitePair, secrets: PairSecrets): Connections {
  const { openstack, cinder } = pair;
  const arrays = siteNames(pair).map((name) => {
    const site = siteOf(pair, name);
    const { address, port, username, caFile } = site.ontap;
    return new OntapClient({
      site: name,
      svm: site.svm,
      address,
      port,
      username,
      password: secrets.ontapPasswords[name] ?? "",
      ...(caFile === undefined ? {} : { caFile }),
    });
  });
  const tls = openstack.caFile === undefined ? {} : { caFile: openstack.caFile };
  const tokens = new KeystoneSession({
    authUrl: openstack.authUrl,
    region: openstack.region,
    interface: openstack.interface,
    credential: openstack.credential,
    secret: secrets.openstackSecret,
    now: () => new Date(),
    ...tls,
  });
  const blockStorage = new CinderClient({ tokens, ...tls });
  const compute = new NovaClient({ tokens, ...tls });
  const databases = connectCinderDatabase({ ...cinder.database, password: secrets.databasePassword });
  const controllers = cinder.controllers.map((controller) => connectController(controller));
  const novaManageHost = cinder.controllers.find(({ name }) => name === pair.novaManage?.controller);
  const novaManage =
    pair.novaManage === undefined || novaManageHost === undefined
      ? undefined
      : connectNovaManage(novaManageHost, pair.novaManage);
  const messageQueue = new MessageQueue({ ...cinder.messageQueue, password: secrets.messageQueuePassword });
  return {
    ports: {
      arrays: Object.fromEntries(arrays.map((array) => [array.site, array])),
      blockStorage: withRowsWhereUnreachable(blockStorage, databases.database),
      compute,
      ...(novaManage === undefined ? {} : { novaManage }),
      database: databases.database,
      coordination: databases.coordination,
      controllers,
      messageQueue,
      config: osloConfig,
      hooks: hookRunner(secrets),
      clock: systemClock,
      retries,
    },
    close: async () => {
      await Promise.allSettled([
        ...arrays.map((array) => array.close()),
        blockStorage.close(),
        compute.close(),
        tokens.close(),
        databases.close(),
        ...controllers.map((controller) => controller.close()),
        novaManage?.close(),
      ]);
    },
  };
}
