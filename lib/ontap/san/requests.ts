import { DrError } from "../../errors";
import type { OntapApi } from "../api";
import { errorCodes, isNotFound, vendorCodeOf } from "../error-codes";
import { anyOf } from "../wire";
import { interfaceBody, iscsiServiceBody, lunBody, lunMapBody, lunNameBody } from "./results";
import type { IscsiTargetInfo, Lun, LunMap } from "./results";
import { interfacesUrl, iscsiServicesUrl, lunMapsUrl, lunMapUrl, lunsUrl, lunUrl } from "./urls";

/** The port is not in ONTAP's answers; Cinder's driver takes the same one as given. */
const iscsiPort = 3260;

export async function getIscsiTarget(api: OntapApi, svm: string): Promise<IscsiTargetInfo> {
  const attempted = `Read the iSCSI target of SVM ${svm}`;
  const [services, interfaces] = await Promise.all([
    api.list(attempted, iscsiServicesUrl, iscsiServiceBody, { "svm.name": svm, fields: "enabled,target.name" }),
    api.list(attempted, interfacesUrl, interfaceBody, {
      "svm.name": svm,
      services: "data_iscsi",
      fields: "ip.address,enabled",
    }),
  ]);
  const [service] = services;
  if (service === undefined)
    throw new DrError({
      code: "config",
      attempted,
      seen: "the SVM has no iSCSI service",
      remedy: "Create it on the SVM",
    });
  return {
    iqn: service.target.name,
    enabled: service.enabled,
    portals: interfaces
      .filter((each) => each.enabled)
      .map(({ ip: { address } }) => `${address.includes(":") ? `[${address}]` : address}:${iscsiPort}`),
  };
}

/** Of every LUN of the SVM, whatever it's for: `/vol/<FlexVol>[/<qtree>]/<name>`. */
export async function listLunPaths(api: OntapApi, svm: string): Promise<readonly string[]> {
  const luns = await api.list(`List the LUNs of SVM ${svm}`, lunsUrl, lunNameBody, { "svm.name": svm, fields: "name" });
  return luns.map(({ name }) => name);
}

/** LUNs of these FlexVols, those of mirrors too. */
export async function listLuns(api: OntapApi, svm: string, flexVols: readonly string[]): Promise<readonly Lun[]> {
  if (flexVols.length === 0) return [];
  return api.list(`List the LUNs of ${svm}:${flexVols.join(", ")}`, lunsUrl, lunBody, {
    "svm.name": svm,
    "location.volume.name": anyOf(flexVols),
    fields: "uuid,name,serial_number,space.size,location.volume.name",
  });
}

/** Gives the LUN another name within its FlexVol, which has to be writable; its maps stay. Renamed already = success. */
export async function renameLun(
  api: OntapApi,
  lun: Pick<Lun, "uuid" | "path" | "flexVol">,
  name: string,
): Promise<void> {
  const path = `/vol/${lun.flexVol}/${name}`;
  const attempted = `Rename LUN ${lun.path} to ${path}`;
  await api.converge(
    () => api.change({ method: "PATCH", path: lunUrl(lun.uuid), body: { name: path }, attempted }),
    async () => {
      const [found] = await api.list(attempted, lunsUrl, lunNameBody, { uuid: lun.uuid, fields: "name" });
      return found?.name === path || undefined;
    },
  );
}

export async function listLunMaps(api: OntapApi, svm: string, flexVols: readonly string[]): Promise<readonly LunMap[]> {
  const maps = await api.list(`List the LUN maps of SVM ${svm}`, lunMapsUrl, lunMapBody, {
    "svm.name": svm,
    fields: "lun.uuid,lun.name,igroup.uuid,igroup.name,logical_unit_number",
  });
  return maps.filter((map) => flexVols.some((flexVol) => map.lunPath.startsWith(`/vol/${flexVol}/`)));
}

/** Absent already = success. */
export async function deleteLunMap(api: OntapApi, map: LunMap): Promise<void> {
  try {
    await api.change({
      method: "DELETE",
      path: lunMapUrl(map.lunUuid, map.igroupUuid),
      attempted: `Unmap ${map.lunPath} from ${map.igroup}`,
    });
  } catch (error) {
    if (!isNotFound(error) && vendorCodeOf(error) !== errorCodes.lunMapNotFound) throw error;
  }
}
