import { driverHazards } from "./driver-suite";

driverHazards("openstack");
