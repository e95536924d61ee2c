import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import { TestLab } from "../components/test-lab";
import { dataVolumeSets, type TestLabSettings } from "./settings";

/** The demo project with its instances and volumes, on a cloud that is there already. */
export function testLab(settings: TestLabSettings): Record<string, unknown> {
  const { lab } = settings;
  const providerOf = (name: string, account: { username: string; project: string }, password: string) =>
    new openstack.Provider(name, {
      authUrl: lab.authUrl,
      region: lab.region,
      userName: account.username,
      tenantName: account.project,
      userDomainName: "Default",
      projectDomainName: "Default",
      password: pulumi.secret(password),
      ...(lab.caFile === undefined ? {} : { cacertFile: lab.caFile }),
    });
  const testbed = new TestLab("test-lab", {
    providers: {
      admin: providerOf("admin", lab.admin, settings.adminPassword),
      demo: providerOf("demo", lab.demo, settings.demoPassword),
    },
    project: lab.demo.project,
    image: lab.image,
    flavor: lab.flavor,
    instances: lab.instances,
    volumeSizeGiB: lab.volumeSizeGiB,
    rootBackendName: lab.rootBackendName,
    dataBackendName: lab.dataBackendName,
    dataVolumeSets: dataVolumeSets.slice(0, lab.dataVolumeSets),
    publicKey: lab.publicKey,
    ...(lab.breadcrumbs === undefined ? {} : { breadcrumbs: lab.breadcrumbs }),
  });
  return { instances: testbed.instances };
}
