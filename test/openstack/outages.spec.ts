import { outagesSuite } from "./outages-suite";

outagesSuite("openstack");
