import { driverHazards } from "../openstack/hazards/driver-suite";
import { failoverHazards } from "../openstack/hazards/failing-failover-suite";

// Nova's hazards need its own configuration, those of roots nova-manage: on the real lab only.
driverHazards("embedded");
failoverHazards("embedded");
