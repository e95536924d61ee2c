"""A Cinder backend whose volumes are sparse files in a folder: what an NFS share of root volumes is to a small cloud.

It has no replication and no data path of its own: hosts see the file. An image becomes a volume by being written into
the file directly, so no qemu-img is needed. Cinder 29.0.0.

Options of the stanza: lab_volumes_folder (shared by the controllers, as the share would be), lab_capacity_gib.
"""
import os
import subprocess

from oslo_config import cfg

from cinder import exception
from cinder import interface
from cinder.volume import configuration
from cinder.volume import driver

OPTIONS = [
    cfg.StrOpt('lab_volumes_folder', help='Folder of the volume files.'),
    cfg.IntOpt('lab_capacity_gib', default=1000, help='Capacity that the pool reports.'),
]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


@interface.volumedriver
class LabFileVolumes(driver.VolumeDriver):
    VERSION = '1.0'
    CI_WIKI_NAME = 'none'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)
        self.folder = self.configuration.lab_volumes_folder

    def check_for_setup_error(self):
        if not self.folder or not os.path.isdir(self.folder):
            raise exception.VolumeBackendAPIException(data='lab_volumes_folder %s is not a folder' % self.folder)

    def _file(self, resource):
        return os.path.join(self.folder, resource.name)

    def _copy(self, source, volume):
        subprocess.run(['cp', '--sparse=always', '--reflink=auto', source, self._file(volume)], check=True)
        os.truncate(self._file(volume), volume.size << 30)

    def _update_volume_stats(self):
        used = sum(os.stat(entry.path).st_blocks * 512 for entry in os.scandir(self.folder))
        capacity = self.configuration.lab_capacity_gib
        self._stats = {
            'volume_backend_name': self.configuration.safe_get('volume_backend_name'),
            'vendor_name': 'cinder-cheesecake lab', 'driver_version': self.VERSION, 'storage_protocol': 'file',
            'pools': [{
                'pool_name': 'roots', 'total_capacity_gb': capacity, 'free_capacity_gb': capacity - (used >> 30),
                'provisioned_capacity_gb': sum(entry.stat().st_size for entry in os.scandir(self.folder)) >> 30,
                'max_over_subscription_ratio': '20.0', 'thin_provisioning_support': True,
                'thick_provisioning_support': False, 'reserved_percentage': 0, 'multiattach': False,
                'QoS_support': False}],
        }

    def create_volume(self, volume):
        with open(self._file(volume), 'wb') as file:
            file.truncate(volume.size << 30)

    def delete_volume(self, volume):
        if os.path.exists(self._file(volume)):
            os.remove(self._file(volume))

    def extend_volume(self, volume, new_size):
        os.truncate(self._file(volume), new_size << 30)

    def create_snapshot(self, snapshot):
        subprocess.run(['cp', '--sparse=always', '--reflink=auto', self._file(snapshot.volume), self._file(snapshot)],
                       check=True)

    def delete_snapshot(self, snapshot):
        if os.path.exists(self._file(snapshot)):
            os.remove(self._file(snapshot))

    def create_volume_from_snapshot(self, volume, snapshot):
        self._copy(self._file(snapshot), volume)

    def create_cloned_volume(self, volume, src_vref):
        self._copy(self._file(src_vref), volume)

    def clone_image(self, context, volume, image_location, image_meta, image_service):
        """Only raw images: anything else would have to be converted."""
        if image_meta.get('disk_format') != 'raw':
            return None, False
        with open(self._file(volume), 'wb') as file:
            image_service.download(context, image_meta['id'], file)
        os.truncate(self._file(volume), volume.size << 30)
        return {}, True

    def copy_image_to_volume(self, context, volume, image_service, image_id, disable_sparse=False):
        meta = image_service.show(context, image_id)
        if not self.clone_image(context, volume, None, meta, image_service)[1]:
            raise exception.ImageUnacceptable(image_id=image_id, reason='the lab takes raw images only')

    def copy_volume_to_image(self, context, volume, image_service, image_meta):
        with open(self._file(volume), 'rb') as file:
            image_service.update(context, image_meta['id'], {}, file)

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector):
        return {'driver_volume_type': 'local', 'data': {'device_path': self._file(volume), 'volume_id': volume.id}}

    def terminate_connection(self, volume, connector, **kwargs):
        pass
