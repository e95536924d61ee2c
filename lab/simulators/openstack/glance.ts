/** Glance's API v2 (33.0): the one image of a lab, and its bytes. */
import { createHash } from "node:crypto";
import type { SimulatorConfig } from "./config";
import { Refusal } from "./http";
import type { Answer, ApiRequest, Json, Route, ServiceOptions } from "./http";

const unauthorisedPage =
  "<html>\n <head>\n  <title>401 Unauthorized</title>\n </head>\n <body>\n  <h1>401 Unauthorized</h1>\n  This server could not verify that you are authorized to access the document you requested. Either you supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required.<br /><br />\n\n\n\n </body>\n</html>";
const versions = [15, 13, 12, 11, 10, 9, 8, 17, 7, 6, 5, 4, 3, 2, 1, 0];

export const glanceService = (config: SimulatorConfig): Pick<ServiceOptions, "name" | "refusal" | "unauthorised"> => ({
  name: "Glance",
  refusal: ({ message }) => ({ body: message, headers: { "content-type": "text/html; charset=UTF-8" } }),
  unauthorised: () => ({
    status: 401,
    body: unauthorisedPage,
    headers: {
      "content-type": "text/html; charset=UTF-8",
      "www-authenticate": `Keystone uri="http://${config.address}:${config.ports.keystone}/v3"`,
    },
  }),
});

export class Glance {
  private readonly made = new Date().toISOString().replace(/\.\d+Z/, "Z");

  constructor(private readonly config: SimulatorConfig) {}

  routes(): Route[] {
    return [
      { method: "GET", path: "/", open: true, run: () => this.versions() },
      {
        method: "GET",
        path: "/v2/images",
        query: ["name", "sort_dir", "sort_key", "status", "limit", "visibility", "owner", "tag"],
        run: (q) => this.list(q),
      },
      { method: "GET", path: "/v2/images/:id", run: (q) => this.show(q) },
      { method: "GET", path: "/v2/images/:id/file", run: (q) => this.file(q) },
    ];
  }

  private versions(): Answer {
    const url = `http://${this.config.address}:${this.config.ports.glance}/v2/`;
    const links = [{ rel: "self", href: url }];
    const list = versions.map((minor) => ({
      id: `v2.${minor}`,
      status: minor === 17 ? "CURRENT" : "SUPPORTED",
      links,
    }));
    return { status: 300, body: { versions: list } };
  }

  get bytes(): Buffer {
    return Buffer.alloc(this.config.image.sizeBytes);
  }

  view(): Json {
    const { id, name, sizeBytes } = this.config.image;
    const hash = (algorithm: string): string => createHash(algorithm).update(this.bytes).digest("hex");
    return {
      name,
      disk_format: "raw",
      container_format: "bare",
      visibility: "public",
      size: sizeBytes,
      virtual_size: sizeBytes,
      status: "active",
      checksum: hash("md5"),
      protected: false,
      min_ram: 0,
      min_disk: 0,
      owner: this.config.identity.projects.find(({ name: project }) => project === "admin")?.id,
      os_hidden: false,
      os_hash_algo: "sha512",
      os_hash_value: hash("sha512"),
      id,
      created_at: this.made,
      updated_at: this.made,
      tags: [],
      self: `/v2/images/${id}`,
      file: `/v2/images/${id}/file`,
      schema: "/v2/schemas/image",
      stores: "files",
    };
  }

  private list(q: ApiRequest): Answer {
    const { name } = this.config.image;
    const wanted = (key: string, value: string): boolean => !q.query.has(key) || q.query.get(key) === value;
    const found =
      wanted("name", name) && wanted("status", "active") && wanted("visibility", "public") && !q.query.has("tag");
    const query = q.query.toString();
    const images = found ? [this.view()] : [];
    return {
      status: 200,
      body: { images, first: `/v2/images${query === "" ? "" : `?${query}`}`, schema: "/v2/schemas/images" },
    };
  }

  private assertKnown(q: ApiRequest): void {
    if (q.at["id"] !== this.config.image.id) throw new Refusal(404, `No image found with ID ${q.at["id"] ?? ""}`);
  }

  private show(q: ApiRequest): Answer {
    this.assertKnown(q);
    return { status: 200, body: this.view() };
  }

  private file(q: ApiRequest): Answer {
    this.assertKnown(q);
    return {
      status: 200,
      body: this.bytes.toString("latin1"),
      headers: { "content-type": "application/octet-stream" },
    };
  }
}
