import assert from "node:assert/strict";
import { Faults as OntapFaults } from "../../../lab/simulators/ontap/faults";
import { Faults as OpenStackFaults } from "../../../lab/simulators/openstack/faults";

const id = "6628b2c7-aaa2-4d37-ba58-1702608e27e1";

describe("a simulator's faults", () => {
  const simulators = {
    "the arrays'": (path: string) => {
      const faults = new OntapFaults();
      faults.add({ path, count: 0, effect: { kind: "reset" } });
      return (asked: string) => faults.hit("cluster-prod", "GET", asked, "").length;
    },
    "the services'": (path: string) => {
      const faults = new OpenStackFaults();
      faults.add({ path, count: 0, effect: { kind: "reset" } });
      return (asked: string) => faults.hit("GET", asked, "").length;
    },
  };
  for (const [whose, armed] of Object.entries(simulators))
    it(`${whose} meet what their path says: * is anything, {id} one UUID`, () => {
      const one = armed("/servers/{id}");
      assert.deepEqual(
        [`/servers/${id}`, "/servers/detail", `/servers/${id}/action`, "/servers"].map(one),
        [1, 0, 0, 0],
      );
      const any = armed("/servers/*");
      assert.deepEqual(
        [`/servers/${id}`, "/servers/detail", `/servers/${id}/action`, "/servers"].map(any),
        [1, 1, 1, 0],
      );
    });
});
