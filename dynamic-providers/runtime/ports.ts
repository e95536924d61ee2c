import { connect } from "../../lib/connections";
import { oncePerConfig } from "./connection";

/** What the switchover engine sees of the pair; nothing of it connects before it is used. */
export const connection = oncePerConfig((pair, secrets) => connect(pair, secrets).ports);
