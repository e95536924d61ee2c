"""Drives NetApp's own Cinder driver: start-up, housekeeping (mirrors), create, attach, extend, clone, detach, delete, failover.

usage: cinder_driver.py CINDER_CONF PRIMARY TARGET      prints one JSON object on its last line
"""
import json
import sys
import time
import uuid

from oslo_config import cfg
from cinder.common import config  # noqa: F401 (registers options)
from cinder import coordination, objects

objects.register_all()  # cinder.volume.manager needs them when it is imported

from cinder.volume import configuration, manager  # noqa: E402
from cinder.volume.drivers.netapp import common  # noqa: E402

INITIATOR = 'iqn.1993-08.org.debian:01:contract'


class Fields(dict):
    """A volume as the driver reads it: by key and by attribute."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name)


def volume(size, pool, backend):
    identity = str(uuid.uuid4())
    return Fields(id=identity, name='volume-' + identity, size=size, host='lab@%s#%s' % (backend, pool), volume_type_id=None,
                  volume_type=None, project_id='p', display_name='x', name_id=identity, provider_location=None, provider_auth=None, qos_specs=None,
                  replication_status='enabled', group=None, group_id=None, metadata={}, host_name='lab', multiattach=False, volume_attachment=[])


def driver(backend, active):
    conf = configuration.Configuration(manager.volume_backend_opts, config_group=backend)
    made = common.NetAppDriver(configuration=conf, host='lab@' + backend, app_version='29', active_backend_id=active)
    made.do_setup(None)
    made.check_for_setup_error()
    made.set_initialized()
    return made


def main(conf_file, primary, target):
    cfg.CONF(['--config-file', conf_file], project='cinder', version='29')
    coordination.COORDINATOR.start()
    seen = {}
    drv = driver(primary, None)
    stats = drv.get_volume_stats(True)
    seen['pools'] = [p['pool_name'] for p in stats['pools']]

    library = drv.library
    client = library.zapi_client
    pool = seen['pools'][0]
    library._handle_housekeeping_tasks()
    mirrors_client = library.zapi_client
    deadline = time.time() + 60
    from cinder.volume.drivers.netapp.dataontap.utils import utils as dot_utils
    there = dot_utils.get_client_for_backend(target)
    while time.time() < deadline:
        mirrors = there.get_snapmirrors(client.vserver, pool, there.vserver, pool)
        if mirrors and mirrors[0]['mirror-state'] == 'snapmirrored' and mirrors[0]['transferring-state'] == 'success':
            break
        time.sleep(0.2)
    seen['mirror'] = mirrors[0]['mirror-state'] if mirrors else None
    library._handle_housekeeping_tasks()

    v = volume(1, pool, primary)
    update = drv.create_volume(v)
    seen['create'] = update
    connector = {'initiator': INITIATOR, 'host': 'compute', 'ip': '127.0.0.1', 'multipath': False}
    export = drv.create_export(None, v, connector)
    seen['export'] = export
    v.update(export or {})
    seen['connection'] = drv.initialize_connection(v, connector)
    drv.extend_volume(v, 2)
    v['size'] = 2
    w = volume(2, pool, primary)
    drv.create_cloned_volume(w, v)
    snapshot = Fields(id=str(uuid.uuid4()), name='snapshot-1', volume_name=v['name'], volume=v, volume_id=v['id'],
                      volume_size=2, volume_type_id=None)
    drv.create_snapshot(snapshot)
    x = volume(2, pool, primary)
    drv.create_volume_from_snapshot(x, snapshot)
    drv.delete_snapshot(snapshot)
    drv.terminate_connection(v, connector)
    drv.delete_volume(w)
    drv.delete_volume(x)

    active, updates, _groups = drv.failover_host(None, [v], secondary_id=target, groups=[])
    seen['failover'] = {'active': active, 'status': [u['updates']['replication_status'] for u in updates]}
    v.update(drv.create_export(None, v, connector) or {})
    seen['connection_after'] = drv.initialize_connection(v, connector)
    seen['location_after'] = v['provider_location']
    print(json.dumps(seen, default=str))


main(*sys.argv[1:])
