import type { OntapClient } from "../../../lib/ontap/client";
import type { ArrayPort } from "../../../lib/switchover/ports";

/** Compiles only while the client has the shape that the switchover engine asks for. */
export const asArrayPort = (client: OntapClient): ArrayPort => client;
