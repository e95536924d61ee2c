import { failoverHazards } from "./failing-failover-suite";

failoverHazards("openstack");
