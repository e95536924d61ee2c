"""NetApp's own Python client against two clusters: peers, volumes, LUNs, maps, and a mirror's whole life, both directions.

usage: netapp_client.py HOST_A PORT_A HOST_B PORT_B PASSWORD_FILE      prints one JSON object on its last line
"""
import json
import sys
import time

from netapp_ontap import HostConnection, NetAppRestError
from netapp_ontap.resources import (
    Cluster, ClusterPeer, Igroup, IgroupInitiator, IpInterface, IscsiService, Lun, LunMap, Node, Snapshot, SnapmirrorPolicy,
    SnapmirrorRelationship, SnapmirrorTransfer, Svm, SvmPeer, Volume)

host_a, port_a, host_b, port_b, password_file = sys.argv[1:]
password = open(password_file).read().strip()
a = HostConnection(host_a, username='admin', password=password, verify=False, port=int(port_a), poll_interval=1)
b = HostConnection(host_b, username='admin', password=password, verify=False, port=int(port_b), poll_interval=1)
seen = {}


def idle(uuid):
    for _ in range(100):
        mirror = SnapmirrorRelationship(uuid=uuid)
        mirror.get()
        if mirror.to_dict().get('transfer', {}).get('state') != 'transferring':
            return mirror
        time.sleep(0.1)
    raise SystemExit('the mirror stays busy')


def patch(uuid, **values):
    mirror = SnapmirrorRelationship(uuid=uuid)
    for name, value in values.items():
        setattr(mirror, name, value)
    mirror.patch()
    return idle(uuid)


with a:
    cluster = Cluster()
    cluster.get()
    seen['version'] = [cluster.version.generation, cluster.version.major, cluster.version.minor]
    seen['nodes'] = len(list(Node.get_collection(fields='*')))
    offer = ClusterPeer(remote={'ip_addresses': ['127.77.2.9']}, authentication={'generate_passphrase': True})
    answer = offer.post()
    passphrase = answer.http_response.json()['records'][0]['authentication']['passphrase']
with b:
    ClusterPeer(remote={'ip_addresses': ['127.77.1.9']}, authentication={'passphrase': passphrase}).post()
    seen['peer'] = [p.to_dict()['status']['state'] for p in ClusterPeer.get_collection(fields='*')]
with a:
    peer = SvmPeer(svm={'name': 'svm_prod'}, peer={'svm': {'name': 'svm_dr'}, 'cluster': {'name': 'dr'}}, applications=['snapmirror'])
    peer.post()
    peer.get()
    seen['svm_peer_initiated'] = peer.state
with b:
    pending = SvmPeer.find(**{'peer.svm.name': 'svm_prod'})
    seen['svm_peer_pending'] = pending.state
    pending.state = 'peered'
    pending.patch()

with a:
    volume = Volume(name='work', svm={'name': 'svm_prod'}, aggregates=[{'name': 'aggr1'}], size=2 ** 30)
    volume.post()
    volume.get(fields='**')
    seen['volume'] = [volume.type, volume.state, volume.style]
    for name in ('one', 'two'):
        lun = Lun(name='/vol/work/' + name, svm={'name': 'svm_prod'}, os_type='linux', space={'size': 16 * 2 ** 20})
        lun.post()
    lun.get(fields='**')
    seen['serial'] = len(lun.serial_number)
    group = Igroup(name='hosts', svm={'name': 'svm_prod'}, os_type='linux', protocol='iscsi')
    group.post()
    IgroupInitiator(group.uuid, name='iqn.1993-08.org.debian:01:x').post()
    mapping = LunMap(svm={'name': 'svm_prod'}, lun={'name': '/vol/work/two'}, igroup={'name': 'hosts'})
    mapping.post()
    seen['maps'] = [m.to_dict()['logical_unit_number'] for m in LunMap.get_collection(fields='*')]
    seen['target'] = IscsiService.find(**{'svm.name': 'svm_prod'}).target.name
    seen['portals'] = [i.ip.address for i in IpInterface.get_collection(services='data_iscsi', fields='*')]
    seen['svm'] = Svm.find(name='svm_prod').state
    seen['paged'] = len(list(Lun.get_collection(max_records=1)))
    snapshot = Snapshot(volume.uuid, name='mine')
    snapshot.post()
    seen['snapshots'] = [s.name for s in Snapshot.get_collection(volume.uuid, fields='*')]

with b:
    Volume(name='work', svm={'name': 'svm_dr'}, type='dp', aggregates=[{'name': 'aggr1'}], size=2 ** 30).post()
    seen['policy'] = SnapmirrorPolicy.find(name='MirrorAllSnapshots').type
    mirror = SnapmirrorRelationship(source={'path': 'svm_prod:work'}, destination={'path': 'svm_dr:work'}, policy={'name': 'MirrorAllSnapshots'})
    mirror.post()
    mirror.get()
    seen['created'] = mirror.state
    seen['initialised'] = patch(mirror.uuid, state='snapmirrored').state
    SnapmirrorTransfer(mirror.uuid).post()
    seen['updated'] = idle(mirror.uuid).last_transfer_type
    seen['transfers'] = sorted(t.state for t in SnapmirrorTransfer.get_collection(mirror.uuid, fields='*'))
    seen['quiesced'] = patch(mirror.uuid, state='paused').state
    seen['broken'] = patch(mirror.uuid, state='broken_off').state
    seen['destination_snapshots'] = len(list(Snapshot.get_collection(Volume.find(name='work').uuid)))
    seen['resynced'] = [patch(mirror.uuid, state='snapmirrored').state, idle(mirror.uuid).last_transfer_type]
    reverse = SnapmirrorRelationship(uuid=mirror.uuid)
    reverse.source = {'path': 'svm_dr:work'}
    reverse.destination = {'path': 'svm_prod:work'}
    reverse.state = 'snapmirrored'
    reverse.patch()
    seen['left_at_b'] = len(list(SnapmirrorRelationship.get_collection()))
    seen['destinations_at_b'] = len(list(SnapmirrorRelationship.get_collection(list_destinations_only=True)))
with a:
    moved = SnapmirrorRelationship.find(**{'destination.path': 'svm_prod:work'})
    seen['reversed'] = [idle(moved.uuid).state, idle(moved.uuid).source.path]
    try:
        Volume.find(name='work').delete()
    except NetAppRestError as error:
        seen['busy'] = error.status_code or 'job failed'
    patch(moved.uuid, state='broken_off')
    SnapmirrorRelationship(uuid=moved.uuid).delete()
    seen['left_at_a'] = len(list(SnapmirrorRelationship.get_collection()))
    for mapping in LunMap.get_collection():
        mapping.delete()
    for lun in Lun.get_collection(**{'location.volume.name': 'work'}):
        lun.delete()
    Volume.find(name='work').delete()
    seen['volumes_left'] = Volume.find(name='work') is None
print(json.dumps(seen))
