/** What Nova asks of Cinder, over HTTP as its user (nova/volume/cinder.py). */
import type { SimulatorConfig } from "../config";
import type { Json } from "../http";
import type { Tokens } from "../tokens";

export class CinderError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const timeoutMs = 300_000;
const deleteAttempts = 5;

export function nestedConnection({ driver_volume_type, attachment_id: _id, ...data }: Json): Json {
  return { driver_volume_type, data };
}

export interface CinderVolume {
  id: string;
  status: string;
  size: number;
  multiattach: boolean;
}

export class CinderCalls {
  constructor(
    private readonly config: SimulatorConfig,
    private readonly tokens: Tokens,
  ) {}

  async volume(id: string): Promise<CinderVolume> {
    return (await this.ask("GET", `/volumes/${id}`))["volume"] as CinderVolume;
  }

  async beginDetaching(id: string): Promise<void> {
    await this.ask("POST", `/volumes/${id}/action`, { "os-begin_detaching": null });
  }

  async rollDetaching(id: string): Promise<void> {
    await this.ask("POST", `/volumes/${id}/action`, { "os-roll_detaching": null });
  }

  async deleteVolume(id: string): Promise<void> {
    await this.ask("DELETE", `/volumes/${id}`);
  }

  /** Reserves the volume; resolves to the attachment's id. */
  async createAttachment(volume: string, instance: string): Promise<string> {
    const attachment = { volume_uuid: volume, instance_uuid: instance, connector: null };
    const answer = await this.ask("POST", "/attachments", { attachment });
    return String((answer["attachment"] as Json)["id"]);
  }

  /** Resolves to connection_info in the form that Nova keeps. */
  async updateAttachment(id: string, connector: Json): Promise<Json> {
    const answer = await this.ask("PUT", `/attachments/${id}`, { attachment: { connector } });
    return nestedConnection((answer["attachment"] as Json)["connection_info"] as Json);
  }

  async completeAttachment(id: string): Promise<void> {
    await this.ask("POST", `/attachments/${id}/action`, { "os-complete": id });
  }

  /** Tried five times without a pause where Cinder fails with 500 or 504. */
  async deleteAttachment(id: string): Promise<void> {
    for (let attempt = 1; ; attempt++)
      try {
        await this.ask("DELETE", `/attachments/${id}`);
        return;
      } catch (error) {
        if (!(error instanceof CinderError) || error.status === 404) {
          if (error instanceof CinderError) return;
          throw error;
        }
        if (![500, 504].includes(error.status) || attempt >= deleteAttempts) throw error;
      }
  }

  private async ask(method: string, below: string, body?: Json): Promise<Json> {
    const { identity, address, ports } = this.config;
    const user = identity.users.find(({ name }) => name === "nova");
    const project = identity.projects.find(({ name }) => name === "service");
    const token = this.tokens.issue(user?.id ?? "", project?.id ?? "", Date.now() + 600_000);
    let response: Response;
    try {
      response = await fetch(`http://${address}:${ports.cinder}/v3${below}`, {
        method,
        headers: {
          "x-auth-token": token,
          "x-service-token": token,
          "openstack-api-version": "volume 3.44",
          "content-type": "application/json",
          "user-agent": "python-cinderclient",
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(timeoutMs),
      });
    } catch (error) {
      throw new CinderError(
        0,
        `Connection to cinder host failed: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    const text = await response.text();
    if (response.ok) return text === "" ? {} : (JSON.parse(text) as Json);
    const [fault] = /^\{/.test(text) ? Object.values(JSON.parse(text) as Record<string, { message?: string }>) : [];
    // As cinderclient's exceptions read.
    const request = response.headers.get("x-openstack-request-id") ?? "";
    throw new CinderError(
      response.status,
      `${fault?.message ?? text} (HTTP ${response.status}) (Request-ID: ${request})`,
    );
  }
}
