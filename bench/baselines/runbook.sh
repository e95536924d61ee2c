#!/usr/bin/env bash
# A planned switchover by hand: the runbook's commands, one after another, with the official command lines, curl where
# it uses ONTAP's, and MySQL's client. The least that it can be done with: one listing instead of a look at each, many
# servers in one command where the command line takes many, no wait that isn't needed for the next command.
#   runbook.sh SETTINGS     (a file of shell variables, see contenders.ts; OS_* as an openrc sets them)
set -euo pipefail

. "$1"
: "${FROM:?}" "${TO:?}" "${VOLUME_HOST:?}" "${FLEXVOLS:?}" "${BACKUP:?}"
: "${FROM_CLUSTER:?}" "${TO_CLUSTER:?}" "${FROM_SVM:?}" "${TO_SVM:?}" "${ONTAP_CA:?}" "${ONTAP_NETRC:?}"
: "${DATABASE_OPTIONS:?}" "${CONTROLLER_SERVICES:?}" "${CINDER_CONFS:?}" "${SERVICE_MANAGER:?}" "${LAB:?}"

phase() { printf '== %s\n' "$1"; }

# wait_until SECONDS COMMAND…: asks again and again, as `watch` does
wait_until() {
  local -i deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    if ((SECONDS > deadline)); then
      printf 'It never came true: %s\n' "$*" >&2
      exit 1
    fi
    sleep 1
  done
}

# ontap METHOD CLUSTER PATH [BODY]
ontap() {
  local body=()
  if [[ $# -gt 3 ]]; then body=(-H 'Content-Type: application/json' -d "$4"); fi
  curl -sS --fail-with-body --cacert "$ONTAP_CA" --netrc-file "$ONTAP_NETRC" -H 'Accept: application/json' \
    -X "$1" "${body[@]}" "$2/api$3"
}

# field KEY…: one value of a JSON document
field() {
  python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    value = value[int(key) if key.isdigit() else key]
print(value)' "$@"
}

# relationship CLUSTER DESTINATION_PATH
relationship() {
  ontap GET "$1" "/snapmirror/relationships?destination.path=$2&fields=uuid" | field records 0 uuid
}

# service HOST COMMAND SERVICE; the lab's service manager stands in for `ssh HOST systemctl COMMAND SERVICE`
service() { "$SERVICE_MANAGER" --lab "$LAB" --host "$1" "$2" "$3"; }

volume_is() { [[ $(openstack volume show "$1" -f value -c status) == "$2" ]]; }

servers_are() {
  local listed server
  listed=$(openstack server list --all-projects -n -f value -c ID -c Status) || return 1
  for server in "${servers[@]}"; do
    grep -qx "$server $1" <<<"$listed" || return 1
  done
}

# backend_is BACKEND REPLICATION_STATUS ACTIVE_BACKEND
backend_is() {
  local listed
  listed=$(cinder service-list --binary cinder-volume --withreplication) || return 1
  grep -Eq "^\| cinder-volume +\| $VOLUME_HOST@$1 +\|.*\| up +\|.*\| $2 +\| $3 +\|" <<<"$listed"
}

reports_pools() {
  local listed
  listed=$(cinder get-pools) || return 1
  grep -q " $VOLUME_HOST@$1#" <<<"$listed"
}

mirror_is_healthy() {
  local seen
  seen=$(ontap GET "$1" "/snapmirror/relationships?destination.path=$2&fields=state,healthy,transfer.state") || return 1
  [[ $(field records 0 state <<<"$seen") == snapmirrored ]] &&
    [[ $(field records 0 healthy <<<"$seen") == True ]] &&
    [[ $(field records 0 transfer state <<<"$seen") == success ]]
}

transfer_is_done() {
  local state
  state=$(ontap GET "$TO_CLUSTER" "/snapmirror/relationships/$1/transfers/$2?fields=state" | field state) || return 1
  case $state in
    success) return 0 ;;
    failed | aborted | hard_aborted)
      printf 'The transfer ended as %s\n' "$state" >&2
      exit 1
      ;;
    *) return 1 ;;
  esac
}

phase inventory
# "<server> <device> <volume>", sorted: roots are on storage that stays, and can't be detached
attached=$(openstack volume list --all-projects -f json -c ID -c 'Attached to' | python3 -c '
import json, sys
for volume in json.load(sys.stdin):
    for attachment in volume["Attached to"]:
        if attachment["device"] != "/dev/vda":
            print(attachment["server_id"], attachment["device"], volume["ID"])' | sort)
mapfile -t servers < <(cut -d ' ' -f 1 <<<"$attached" | sort -u)

phase stop
openstack server stop "${servers[@]}"
wait_until 600 servers_are SHUTOFF

phase final-update
transfers=()
for flexvol in "${FLEXVOLS[@]}"; do
  mirror=$(relationship "$TO_CLUSTER" "$TO_SVM:$flexvol")
  uuid=$(ontap POST "$TO_CLUSTER" "/snapmirror/relationships/$mirror/transfers?return_records=true" '{}' |
    field records 0 uuid)
  transfers+=("$mirror $uuid")
done
for transfer in "${transfers[@]}"; do
  read -r mirror uuid <<<"$transfer"
  wait_until 7200 transfer_is_done "$mirror" "$uuid"
done

phase failover-host
cinder failover-host "$VOLUME_HOST@$FROM" --backend_id "$TO"
wait_until 600 backend_is "$FROM" failed-over "$TO"

phase reattach
for server in "${servers[@]}"; do
  own=$(awk -v server="$server" '$1 == server { print $2, $3 }' <<<"$attached")
  while read -r _ volume; do
    openstack server remove volume "$server" "$volume" </dev/null
  done <<<"$own"
  while read -r _ volume; do
    wait_until 1800 volume_is "$volume" available </dev/null
  done <<<"$own"
  # The next free name is given to whichever comes first: so one after another, in the order of the former names.
  while read -r device volume; do
    given=$(openstack server add volume --device "$device" "$server" "$volume" -f value -c Device </dev/null)
    if [[ $given != "$device" ]]; then
      printf '%s was to be %s of %s, and is %s\n' "$volume" "$device" "$server" "$given" >&2
      exit 1
    fi
    wait_until 900 volume_is "$volume" in-use </dev/null
  done <<<"$own"
done

phase unmap
# failover-host leaves the maps at the site that was left: the driver is already at the other one when it detaches.
ontap DELETE "$FROM_CLUSTER" "/protocols/san/lun-maps?svm.name=$FROM_SVM" >/dev/null

phase start
openstack server start "${servers[@]}"
wait_until 600 servers_are ACTIVE

phase promote
for entry in "${CONTROLLER_SERVICES[@]}"; do
  read -r host name <<<"$entry"
  service "$host" stop "$name"
done
for conf in "${CINDER_CONFS[@]}"; do
  sed -i -E "/^enabled_backends *=/ s/\b$FROM\b/$TO/" "$conf"
done
mariadb-dump --defaults-extra-file="$DATABASE_OPTIONS" --single-transaction cinder >"$BACKUP"
# The row of the site that was left stays as failover-host left it: a driver started there again mustn't resync.
mariadb --defaults-extra-file="$DATABASE_OPTIONS" cinder <<SQL
UPDATE volumes
   SET host = REPLACE(host, '$VOLUME_HOST@$FROM', '$VOLUME_HOST@$TO'), replication_status = 'enabled'
 WHERE deleted = 0 AND host LIKE '$VOLUME_HOST@$FROM#%';
UPDATE services
   SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0, disabled_reason = NULL
 WHERE deleted = 0 AND \`binary\` = 'cinder-volume' AND host = '$VOLUME_HOST@$TO';
SQL
for flexvol in "${FLEXVOLS[@]}"; do
  mirror=$(relationship "$TO_CLUSTER" "$TO_SVM:$flexvol")
  ontap PATCH "$TO_CLUSTER" "/snapmirror/relationships/$mirror?return_timeout=120" "{
    \"source\": {\"path\": \"$TO_SVM:$flexvol\"}, \"destination\": {\"path\": \"$FROM_SVM:$flexvol\"},
    \"state\": \"snapmirrored\"}" >/dev/null
done
for entry in "${CONTROLLER_SERVICES[@]}"; do
  read -r host name <<<"$entry"
  service "$host" start "$name"
done
wait_until 600 backend_is "$TO" enabled -
wait_until 300 reports_pools "$TO"

phase protect
for flexvol in "${FLEXVOLS[@]}"; do
  wait_until 7200 mirror_is_healthy "$FROM_CLUSTER" "$FROM_SVM:$flexvol"
done

phase done
