import { clientsSuite } from "./clients-suite";

clientsSuite("openstack");
