/** The lab as others see it: a real OpenStack and two simulated ONTAP clusters, living in a folder. */
export * from "./description";
export { labDown } from "./openstack/down";
export { labStatus } from "./openstack/status";
export { labUp } from "./openstack/up";
