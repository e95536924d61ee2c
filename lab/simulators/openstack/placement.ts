/** Placement (16.0): only its root was ever asked for from outside; Nova's own questions to it aren't simulated. */
import type { SimulatorConfig } from "./config";
import type { Route, ServiceOptions } from "./http";
import { neutronService } from "./neutron";

export const placementService = (
  config: SimulatorConfig,
): Pick<ServiceOptions, "name" | "refusal" | "unauthorised"> => ({
  ...neutronService(config),
  name: "Placement",
  refusal: ({ status, message }) => ({ body: { errors: [{ status, title: message, detail: message }] } }),
});

export function placementRoutes(): Route[] {
  const version = {
    id: "v1.0",
    max_version: "1.39",
    min_version: "1.0",
    status: "CURRENT",
    links: [{ rel: "self", href: "" }],
  };
  return [
    {
      method: "GET",
      path: "/",
      open: true,
      run: () => ({
        status: 200,
        body: { versions: [version] },
        headers: { "openstack-api-version": "placement 1.0", vary: "openstack-api-version" },
      }),
    },
  ];
}
