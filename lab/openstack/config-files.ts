/**
 * Every configuration file of the lab, as text. Sized for one small machine: one worker each, heartbeats of seconds, so
 * that a dead service counts as down within seconds too.
 */
import * as path from "node:path";
import { type Addresses, ports } from "./addresses";
import type { Layout, SecretName } from "./files";

export const REGION = "RegionOne";
export const VOLUME_HOST = "cinder-dr";
export const CONTROLLERS = ["controller-1", "controller-2"] as const;
export const COMPUTES = ["compute-1", "compute-2"] as const;
export const SCHEMAS = [
  "keystone",
  "cinder",
  "nova",
  "nova_api",
  "nova_cell0",
  "placement",
  "glance",
  "neutron",
] as const;
export const DATABASE_USER = "openstack";
export const MESSAGE_QUEUE_USER = "openstack";

export interface ConfigInput {
  layout: Layout;
  addresses: Addresses;
  /** Prefix of the Python environment: its etc/ holds the services' own paste files. */
  pythonPrefix: string;
  secret: (name: SecretName) => string;
}

export interface ConfigFile {
  file: string;
  text: string;
  mode?: number;
}

export function endpointsOf(addresses: Addresses) {
  const at = (port: number) => `http://${addresses.control}:${port}`;
  return {
    identity: `${at(ports.keystone)}/v3`,
    compute: `${at(ports.nova)}/v2.1`,
    blockStorage: `${at(ports.cinder)}/v3`,
    image: at(ports.glance),
    network: at(ports.neutron),
    placement: at(ports.placement),
  };
}

function fragments({ addresses, secret }: ConfigInput) {
  const { identity } = endpointsOf(addresses);
  const pool = "max_pool_size = 5\nmax_overflow = 20";
  const database = (schema: string) =>
    `mysql+pymysql://${DATABASE_USER}:${secret("database-services")}@${addresses.control}:${ports.database}/${schema}?charset=utf8mb4`;
  return {
    identity,
    database: (schema: string, section = "database") => `[${section}]\nconnection = ${database(schema)}\n${pool}`,
    transportUrl: `rabbit://${MESSAGE_QUEUE_USER}:${secret("message-queue")}@${addresses.control}:${ports.messageQueue}/`,
    user: (username: string) => `auth_url = ${identity}
auth_type = password
project_domain_id = default
user_domain_id = default
project_name = service
username = ${username}
password = ${secret("keystone-service-users")}
region_name = ${REGION}`,
    messaging: `[oslo_messaging_rabbit]
rabbit_quorum_queue = false
heartbeat_in_pthread = false

[oslo_messaging_notifications]
driver = noop`,
    serviceTokens: `service_token_roles = service
service_token_roles_required = true`,
  };
}

function keystoneConf(input: ConfigInput): string {
  const { layout } = input;
  const { database } = fragments(input);
  return `[DEFAULT]

${database("keystone")}

[token]
provider = fernet
expiration = 86400

[fernet_tokens]
key_repository = ${layout.etc("control", "keystone", "fernet-keys")}

[fernet_receipts]
key_repository = ${layout.etc("control", "keystone", "fernet-keys")}

[credential]
key_repository = ${layout.etc("control", "keystone", "credential-keys")}

[identity]
password_hash_algorithm = bcrypt
password_hash_rounds = 4

[cache]
enabled = true
backend = dogpile.cache.memory
`;
}

function glanceConf(input: ConfigInput): string {
  const { layout, pythonPrefix } = input;
  const { database, identity, user } = fragments(input);
  return `[DEFAULT]
enabled_backends = files:file
workers = 0
use_keystone_limits = false

${database("glance")}

[glance_store]
default_backend = files

[files]
filesystem_store_datadir = ${layout.state("control", "glance", "images")}

[os_glance_staging_store]
filesystem_store_datadir = ${layout.state("control", "glance", "staging")}

[os_glance_tasks_store]
filesystem_store_datadir = ${layout.state("control", "glance", "tasks")}

[oslo_concurrency]
lock_path = ${layout.state("control", "lock")}

[keystone_authtoken]
www_authenticate_uri = ${identity}
${user("glance")}

[paste_deploy]
flavor = keystone
config_file = ${path.join(pythonPrefix, "etc", "glance", "glance-api-paste.ini")}
`;
}

function placementConf(input: ConfigInput): string {
  const { database, identity, user } = fragments(input);
  return `[DEFAULT]

[api]
auth_strategy = keystone

${database("placement", "placement_database")}

[keystone_authtoken]
www_authenticate_uri = ${identity}
${user("placement")}
`;
}

function neutronConf(input: ConfigInput): string {
  const { layout, pythonPrefix } = input;
  const { database, identity, user, transportUrl, messaging } = fragments(input);
  return `[DEFAULT]
# The API alone, without agents: networks, ports and security groups are records that no host acts on.
core_plugin = ml2
service_plugins =
auth_strategy = keystone
transport_url = ${transportUrl}
api_paste_config = ${path.join(pythonPrefix, "etc", "neutron", "api-paste.ini")}
state_path = ${layout.state("control", "neutron")}
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false

[ml2]
type_drivers = local
project_network_types = local
mechanism_drivers =
extension_drivers = port_security

${database("neutron")}

[oslo_concurrency]
lock_path = ${layout.state("control", "lock")}

${messaging}

[keystone_authtoken]
www_authenticate_uri = ${identity}
${user("neutron")}
`;
}

function cinderConf(input: ConfigInput, controller: string, reportIntervalSeconds: number): string {
  const { layout, pythonPrefix, addresses } = input;
  const { database, identity, user, transportUrl, messaging, serviceTokens } = fragments(input);
  const etc = path.join(pythonPrefix, "etc", "cinder");
  return `# Cinder on ${controller}.
# Backends and their replication are at the end of the file.

[DEFAULT]
host = ${controller}
my_ip = ${addresses.control}
state_path = ${layout.state(controller, "cinder")}
transport_url = ${transportUrl}
auth_strategy = keystone

# Paths of the Python environment
api_paste_config = ${path.join(etc, "api-paste.ini")}
resource_query_filters_file = ${path.join(etc, "resource_filters.json")}
rootwrap_config = ${path.join(etc, "rootwrap.conf")}

# Images
glance_api_servers = ${endpointsOf(addresses).image}
image_conversion_dir = ${layout.state(controller, "cinder", "conversion")}

# Backends that cinder-volume serves; each is a section below
enabled_backends = loweropenstack1

# Heartbeats
report_interval = ${reportIntervalSeconds}
service_down_time = 12
periodic_interval = 10
periodic_fuzzy_delay = 0
backend_stats_polling_interval = 10
osapi_volume_workers = 1

${database("cinder")}

[oslo_concurrency]
lock_path = ${layout.state(controller, "lock")}

${messaging}

# Locks that the controllers share
[coordination]
backend_url = file://${layout.state("control", "coordination")}

[nova]
interface = internal
${user("nova")}

[service_user]
send_service_user_token = true
${user("cinder")}

[keystone_authtoken]
${serviceTokens}
memcache_security_strategy = None
www_authenticate_uri = ${identity}
${user("cinder")}

# Root volumes: on storage of their own, which stays up when a site is lost. Not replicated.
[loweropenstack1]
volume_driver = lab_file_volumes.LabFileVolumes
volume_backend_name = loweropenstack1
backend_host = ${VOLUME_HOST}
lab_volumes_folder = ${layout.state("control", "root-volumes")}
`;
}

/** One for the control services and one for each compute host: only the first may reach the database. */
function novaConf(input: ConfigInput, host: string): string {
  const { layout, pythonPrefix, addresses } = input;
  const { database, identity, user, transportUrl, messaging, serviceTokens } = fragments(input);
  const compute = host !== "control";
  return `[DEFAULT]
host = ${host}
my_ip = ${addresses.control}
state_path = ${layout.state(host, "nova")}
instances_path = ${layout.state(host, "nova", "instances")}
transport_url = ${transportUrl}
compute_driver = lab_hypervisor.LabHypervisor
enabled_apis = osapi_compute
osapi_compute_workers = 1
heal_instance_info_cache_interval = -1
sync_power_state_interval = -1
report_interval = 3
service_down_time = 12
initial_cpu_allocation_ratio = 16.0
shutdown_timeout = 5
periodic_fuzzy_delay = 0

[api]
auth_strategy = keystone

[wsgi]
api_paste_config = ${path.join(pythonPrefix, "etc", "nova", "api-paste.ini")}

${compute ? "" : `${database("nova_api", "api_database")}\n\n${database("nova")}\n`}
[oslo_concurrency]
lock_path = ${layout.state(host, "lock")}

${messaging}

[conductor]
workers = 1

[scheduler]
workers = 1
discover_hosts_in_cells_interval = 5

[glance]
api_servers = ${endpointsOf(addresses).image}

[cinder]
catalog_info = block-storage::publicURL
${user("nova")}

[neutron]
${user("nova")}

[placement]
${user("placement")}

[service_user]
send_service_user_token = true
${user("nova")}

[keystone]
${user("nova")}

[keystone_authtoken]
${serviceTokens}
www_authenticate_uri = ${identity}
${user("nova")}

[vnc]
enabled = false

[key_manager]
backend = nova.keymgr.conf_key_mgr.ConfKeyManager
`;
}

function rabbitmqConf({ addresses, secret }: ConfigInput): string {
  return `loopback_users = none
listeners.tcp.default = ${addresses.control}:${ports.messageQueue}
default_user = ${MESSAGE_QUEUE_USER}
default_pass = ${secret("message-queue")}
`;
}

export function configFiles(input: ConfigInput): ConfigFile[] {
  const { layout } = input;
  return [
    { file: layout.etc("control", "keystone", "keystone.conf"), text: keystoneConf(input), mode: 0o600 },
    { file: layout.etc("control", "glance", "glance-api.conf"), text: glanceConf(input), mode: 0o600 },
    { file: layout.etc("control", "placement", "placement.conf"), text: placementConf(input), mode: 0o600 },
    { file: layout.etc("control", "neutron", "neutron.conf"), text: neutronConf(input), mode: 0o600 },
    { file: layout.etc("control", "nova", "nova.conf"), text: novaConf(input, "control"), mode: 0o600 },
    { file: layout.etc("control", "rabbitmq", "rabbitmq.conf"), text: rabbitmqConf(input), mode: 0o600 },
    { file: layout.etc("control", "rabbitmq", "rabbitmq-env.conf"), text: "" },
    { file: layout.etc("control", "rabbitmq", "enabled_plugins"), text: "[].\n" },
    { file: layout.etc("control", "rabbitmq", "advanced.config"), text: "[].\n" },
    ...COMPUTES.map((host) => ({
      file: layout.etc(host, "nova", "nova.conf"),
      text: novaConf(input, host),
      mode: 0o600,
    })),
  ];
}

/** Apart from the others: once written they belong to the operator, and `up` leaves them as they are. */
export function cinderConfigFiles(input: ConfigInput, reportIntervalSeconds: number): ConfigFile[] {
  return CONTROLLERS.map((controller) => ({
    file: input.layout.etc(controller, "cinder", "cinder.conf"),
    text: cinderConf(input, controller, reportIntervalSeconds),
    mode: 0o640,
  }));
}
