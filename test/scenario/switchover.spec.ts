import { switchoverSuite } from "../openstack/switchover-suite";

switchoverSuite("embedded");
