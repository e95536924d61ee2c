import { connect } from "../../lib/connections";
import type { Ports } from "../../lib/switchover/ports";
import { configuredPair, configuredSecrets } from "./connection";

let ports: Ports | undefined;

/** Clients of the whole pair: one set for the process, made when first needed; none of them connects before it is used. */
export function connection(): Ports {
  return (ports ??= connect(configuredPair(), configuredSecrets()).ports);
}
