import { switchoverSuite } from "./switchover-suite";

switchoverSuite("openstack");
