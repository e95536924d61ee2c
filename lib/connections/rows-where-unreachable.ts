import { isUnanswered } from "../errors";
import type { BlockStoragePort } from "../switchover/ports";

type Listing = "listVolumes" | "listSnapshots" | "listAttachments";

/**
 * Lists by Cinder's API, and by its database while the API, or what is behind its load balancer, doesn't answer: what a
 * disaster takes first are the controllers. Attachments come without their connection then: where that counts, they are
 * listed by the API alone. Everything that changes something needs the API.
 */
export function withRowsWhereUnreachable(
  api: Omit<BlockStoragePort, "listConnections">,
  rows: Pick<BlockStoragePort, Listing>,
): BlockStoragePort {
  const either = async <R>(ask: () => Promise<R>, read: () => Promise<R>): Promise<R> => {
    try {
      return await ask();
    } catch (error) {
      if (!isUnanswered(error)) throw error;
      return read();
    }
  };
  return {
    listServices: () => api.listServices(),
    listPools: () => api.listPools(),
    disableService: (host, reason) => api.disableService(host, reason),
    enableService: (host) => api.enableService(host),
    failoverHost: (host, backendId) => api.failoverHost(host, backendId),
    rollDetaching: (id) => api.rollDetaching(id),
    completeAttachment: (id) => api.completeAttachment(id),
    deleteAttachment: (id) => api.deleteAttachment(id),
    listConnections: () => api.listAttachments(),
    listVolumes: (host) =>
      either(
        () => api.listVolumes(host),
        () => rows.listVolumes(host),
      ),
    listSnapshots: () =>
      either(
        () => api.listSnapshots(),
        () => rows.listSnapshots(),
      ),
    listAttachments: () =>
      either(
        () => api.listAttachments(),
        () => rows.listAttachments(),
      ),
  };
}
