"""The lab's hypervisor: Nova's fake one, made to behave as libvirt does wherever a switchover depends on it.

- Device names are chosen by libvirt's own code (nova.virt.libvirt.blockinfo): the name asked for is ignored, the lowest
  free one is taken, computed from Nova's block device mappings.
- Its instances survive a restart of nova-compute (read back from Nova).
- Connecting a volume proves the path: an INQUIRY through a portal, IQN and LUN of connection_info, as this host's
  initiator. A target that refuses or doesn't answer fails the attach (or the start), as os-brick would.
- Disconnecting one whose portal doesn't answer is slow, as flushing a dead device is, and fails if the lab says so.

What was connected, disconnected or started is written to <state_path>/hypervisor.jsonl, one JSON object a line:
{"at": seconds since the epoch, "operation", "server", "volume", "device", "portal", "iqn", "lun"}.
Nova 34.0.0.
"""
import hashlib
import itertools
import json
import os
import socket
import subprocess
import time

from oslo_config import cfg
from oslo_log import log as logging

from nova import block_device
from nova.compute import power_state
import nova.conf
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.virt import driver
from nova.virt import fake
from nova.virt.libvirt import blockinfo

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

OPTIONS = [
    cfg.IntOpt('connect_timeout_seconds', default=5, help='How long a connection may take before the path counts as dead.'),
    cfg.IntOpt('inquiry_timeout_seconds', default=30, help='How long login and INQUIRY may take, on a busy machine, too.'),
    cfg.FloatOpt('dead_path_detach_seconds', default=3, help='How long a disconnect takes when the portal is silent.'),
]
CONF.register_opts(OPTIONS, group='lab')

VIRT_TYPE = 'qemu'


def initiator_of(host):
    return 'iqn.1994-05.com.redhat:' + hashlib.sha1(host.encode()).hexdigest()[:12]


def portals_of(data):
    return data.get('target_portals') or [data['target_portal']]


class LabHypervisor(fake.FakeDriverWithoutFakeNodes):

    def init_host(self, host):
        super().init_host(host)
        admin = nova_context.get_admin_context()
        for instance in objects.InstanceList.get_by_host(admin, host, expected_attrs=['flavor']):
            self.instances[instance.uuid] = fake.FakeInstance(
                instance.name, instance.power_state or power_state.SHUTDOWN, instance.uuid)

    # Names, as the three methods in nova/virt/libvirt/driver.py.

    def default_root_device_name(self, instance, image_meta, root_bdm):
        buses = [blockinfo.get_disk_bus_for_device_type(instance, VIRT_TYPE, image_meta, kind)
                 for kind in ('disk', 'cdrom')]
        root = blockinfo.get_root_info(instance, VIRT_TYPE, image_meta, root_bdm, *buses)
        return block_device.prepend_dev(root['dev'])

    def default_device_names_for_instance(self, instance, root_device_name, *block_device_lists):
        mappings = list(itertools.chain(*block_device_lists))
        for mapping in mappings:
            mapping.device_name = None
        blockinfo.default_device_names(
            VIRT_TYPE, nova_context.get_admin_context(), instance,
            driver.get_block_device_info(instance, mappings), instance.image_meta)

    def get_device_name_for_instance(self, instance, bdms, block_device_obj):
        disks = blockinfo.get_disk_info(
            VIRT_TYPE, instance, instance.image_meta,
            block_device_info=driver.get_block_device_info(instance, bdms))
        if block_device_obj.device_name is not None:
            LOG.info('Ignoring supplied device name: %s', block_device_obj.device_name, instance=instance)
        block_device_obj.device_name = None
        disk = blockinfo.get_info_from_bdm(
            instance, VIRT_TYPE, instance.image_meta, block_device_obj, mapping=disks['mapping'])
        return block_device.prepend_dev(disk['dev'])

    # Paths.

    def get_volume_connector(self, instance):
        return {'ip': CONF.my_block_storage_ip, 'host': self._host, 'initiator': initiator_of(self._host),
                'multipath': False, 'enforce_multipath': True, 'platform': 'x86_64', 'os_type': 'linux',
                'do_local_attach': False}

    def _note(self, operation, instance, mountpoint, connection_info):
        data = (connection_info or {}).get('data', {})
        line = {'at': time.time(), 'operation': operation, 'server': instance.uuid, 'volume': data.get('volume_id'),
                'device': mountpoint, 'portal': data.get('target_portal'), 'iqn': data.get('target_iqn'),
                'lun': data.get('target_lun')}
        with open(os.path.join(CONF.state_path, 'hypervisor.jsonl'), 'a') as log:
            log.write(json.dumps(line) + '\n')

    def _connect(self, connection_info):
        """Raises unless the target serves this LUN to this host now, through one of its portals, as os-brick tries them
        in turn. Roots that aren't iSCSI have no path to prove."""
        if connection_info['driver_volume_type'] != 'iscsi':
            return
        data = connection_info['data']
        refusals = []
        for portal in portals_of(data):
            url = 'iscsi://%s/%s/%s' % (portal, data['target_iqn'], data['target_lun'])
            try:
                subprocess.run(['iscsi-inq', '-i', initiator_of(self._host), url], check=True, capture_output=True,
                               text=True, timeout=CONF.lab.inquiry_timeout_seconds)
                return
            except (subprocess.SubprocessError, OSError) as error:
                refusals.append('%s: %s' % (url, (getattr(error, 'stderr', '') or str(error)).strip()))
        raise exception.VolumeAttachFailed(volume_id=data.get('volume_id'), reason='; '.join(refusals))

    def _disconnect(self, connection_info, mountpoint):
        """Flushes; over a dead path that takes its time, or fails while the lab says so."""
        if connection_info['driver_volume_type'] != 'iscsi':
            return
        for portal in portals_of(connection_info['data']):
            address, _, port = portal.rpartition(':')
            try:
                socket.create_connection((address, int(port)), CONF.lab.connect_timeout_seconds).close()
                return
            except OSError:
                LOG.warning('Portal %s does not answer.', portal)
        time.sleep(CONF.lab.dead_path_detach_seconds)
        if os.path.exists(os.path.join(CONF.state_path, 'fail-dead-path-detach')):
            raise exception.DeviceDetachFailed(device=mountpoint, reason='flush failed: no portal answers')

    def _connect_all(self, operation, instance, block_device_info):
        for mapping in driver.block_device_info_get_mapping(block_device_info):
            self._connect(mapping['connection_info'])
            self._note(operation, instance, mapping['mount_device'], mapping['connection_info'])

    def attach_volume(self, context, connection_info, instance, mountpoint, *args, **kwargs):
        self._connect(connection_info)
        super().attach_volume(context, connection_info, instance, mountpoint, *args, **kwargs)
        self._note('attach', instance, mountpoint, connection_info)
        # As libvirt's driver: without it, detaching a tagged volume fails after Cinder's part of it (compute/manager.py
        # _delete_disk_metadata), and Nova keeps its row of a volume that Cinder calls available.
        mappings = objects.BlockDeviceMappingList.get_by_instance_uuid(context, instance.uuid)
        disks = [objects.DiskMetadata(serial=each.volume_id, tags=[each.tag]) for each in mappings if each.tag]
        instance.device_metadata = objects.InstanceDeviceMetadata(devices=disks) if disks else None
        instance.save()

    def detach_volume(self, context, connection_info, instance, mountpoint, *args, **kwargs):
        self._disconnect(connection_info, mountpoint)
        super().detach_volume(context, connection_info, instance, mountpoint, *args, **kwargs)
        self._note('detach', instance, mountpoint, connection_info)

    def spawn(self, context, instance, *args, **kwargs):
        self._connect_all('spawn', instance, kwargs.get('block_device_info'))
        super().spawn(context, instance, *args, **kwargs)

    def power_on(self, context, instance, network_info, block_device_info=None, *args, **kwargs):
        # As libvirt's _hard_reboot: every volume is connected anew from the stored connection_info.
        self._connect_all('power_on', instance, block_device_info)
        super().power_on(context, instance, network_info, block_device_info, *args, **kwargs)

    def reboot(self, context, instance, network_info, reboot_type, block_device_info=None, *args, **kwargs):
        if reboot_type == 'HARD':
            return super().reboot(context, instance, network_info, reboot_type, block_device_info, *args, **kwargs)
        # The guest restarts on the paths that it has.
        self.instances[instance.uuid].state = power_state.RUNNING
