import { clientsSuite } from "../openstack/clients-suite";

clientsSuite("embedded");
