import { outagesSuite } from "../openstack/outages-suite";

outagesSuite("embedded");
