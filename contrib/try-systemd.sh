#!/bin/sh
# Tries the unit of this directory for real: start, reload, watchdog, hardening, stop, restart.
#
#   contrib/try-systemd.sh PROGRAM
#
# For a virtual machine or a container with systemd as its first process that may be changed: as root it installs PROGRAM as
# /usr/bin/broker, the unit, a user, and a cluster of three nodes in /etc/broker and /var/lib/broker, all of which must not be there
# yet and are removed at the end. Takes systemctl, journalctl, curl, gzip. Ends with `ok`, or with what is wrong.
set -eu

program=${1:?usage: try-systemd.sh PROGRAM}
here=$(cd "$(dirname "$0")" && pwd)
unit=/etc/systemd/system/broker@.service
state=/var/lib/broker

fail() {
    echo "try-systemd: $*" >&2
    journalctl --no-pager -o short-monotonic -n 40 -u 'broker@*' >&2
    exit 1
}
step() { echo "* $*"; }
# Waits for a command to succeed, a tenth of a second at a time.
within() {
    tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "in vain: $*"
        sleep 0.1
    done
}
property() { systemctl show "broker@$1" -p "$2" --value; }
said() { journalctl --sync >/dev/null 2>&1; journalctl --no-pager -o cat -u "broker@$1" | grep -q -- "$2"; }
is() { [ "$(property "$1" "$2")" = "$3" ]; }
count() { broker status grpc://127.0.0.1:27761 --json | grep -o "\"entries\":$1" | wc -l; }
has_entries() { [ "$(count "$1")" = "$2" ]; }
all_nodes() { for node in logger-1 worker-1 manager; do systemctl "$1" "broker@$node" || return 1; done; }

[ "$(id -u)" = 0 ] || fail "not root"
for path in /etc/broker $state $unit /usr/bin/broker; do
    [ ! -e "$path" ] || fail "$path is there already"
done
! id broker >/dev/null 2>&1 || fail "the user broker is there already"
clean() {
    systemctl kill -s KILL 'broker@*' 2>/dev/null || true
    systemctl stop 'broker@*' 2>/dev/null || true
    rm -rf /etc/broker $state $unit $unit.d /usr/bin/broker
    userdel broker 2>/dev/null || true
    systemctl daemon-reload
}
trap clean EXIT

install -m 755 "$program" /usr/bin/broker
install -m 644 "$here/systemd/broker@.service" $unit
useradd --system --home-dir $state --shell /usr/sbin/nologin broker
mkdir /etc/broker $unit.d
printf '[Service]\nWatchdogSec=3\n' >$unit.d/quick.conf
cat >/etc/broker/cluster.toml <<'LAYOUT'
[cluster]
log_dir = "/var/lib/broker/logs"
[logging]
spool_dir = "/var/lib/broker/spool"
rotation_size = 2000
gzip_level = 6
post_command = ["/bin/sh", "-c", "echo rotated >> /var/lib/broker/rotated", "{file}"]
[stores.plain]
backend = "sqlite"
path = "/var/lib/broker/plain.sqlite"
[stores.wal]
backend = "sqlite"
path = "/var/lib/broker/wal.sqlite"
journal_mode = "wal"
[node.manager]
role = "manager"
listen = ["grpc://127.0.0.1:27761", "broker://127.0.0.1:27771", "ws://127.0.0.1:27759"]
metrics = "127.0.0.1:27791"
[node.logger-1]
role = "logger"
listen = ["grpc://127.0.0.1:27762"]
[node.worker-1]
role = "worker"
LAYOUT
systemctl daemon-reload

step "the unit is understood"
problems=$(systemd-analyze verify broker@manager.service 2>&1) || fail "$problems"
[ -z "$problems" ] || fail "$problems"

step "start returns when the nodes are ready"
all_nodes start || fail "a node does not start"
said manager '^ready$' || fail "start did not wait for it"
within 10 curl -fs http://127.0.0.1:27791/readyz

step "the limits are in force"
process=$(property manager MainPID)
grep -q '^Seccomp:[[:space:]]*2$' "/proc/$process/status" || fail "no filter of system calls"
grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$process/status" || fail "new privileges"

step "stores, logs, rotation, compression and the command after it work within them"
for store in plain wal; do
    seq 200 | sed 's/.*/{"key":{"@data-type":"count","data":&},"value":{"@data-type":"count","data":1}}/' |
        broker store grpc://127.0.0.1:27761 $store load
done
within 10 has_entries 200 2

step "reload is told of, and taken over"
sed -i 's/role = "worker"/role = "worker"\nlog_level = "debug"/' /etc/broker/cluster.toml
systemctl reload broker@worker-1
within 10 said worker-1 'configuration read again: log level debug'
within 10 is worker-1 StatusText 'log level debug'
within 10 is worker-1 ActiveState active
for _ in 1 2 3 4 5 6 7 8; do
    systemctl restart broker@worker-1
done
within 20 test -s $state/rotated
within 10 sh -c "ls $state/logs/logger-1/*.gz"
gzip -t $state/logs/logger-1/*.gz || fail "rotated files are broken"

step "what no logger takes waits on disk, over a stop, and arrives later"
systemctl stop broker@logger-1
systemctl restart broker@worker-1
systemctl stop broker@worker-1
within 5 said worker-1 'stopped: .* [1-9][0-9]* spooled, 0 left'
all_nodes start || fail "a node does not start again"
within 20 curl -fs http://127.0.0.1:27791/readyz

step "a node that stands still is killed and started again"
kill -STOP "$process"
within 30 is manager NRestarts 1
within 10 is manager SubState running
[ "$(property manager MainPID)" != "$process" ] || fail "it is the same process"
within 10 has_entries 200 2

step "a layout that cannot be is not tried again and again"
cp /etc/broker/cluster.toml /etc/broker/good
echo colour = 1 >>/etc/broker/cluster.toml
systemctl restart broker@worker-1 2>/dev/null && fail "it started"
is worker-1 ActiveState failed || fail "it is tried again"
mv /etc/broker/good /etc/broker/cluster.toml

step "stop drains in time, and loses nothing"
systemctl start broker@worker-1
since=$(date +%s)
all_nodes stop
[ $(($(date +%s) - since)) -le 45 ] || fail "stop took too long"
for node in manager logger-1 worker-1; do
    is $node Result success || fail "$node: $(property $node Result)"
    journalctl --no-pager -o cat -u broker@$node | grep '^.*stopped: ' | tail -1 | grep -q ' 0 left' ||
        fail "$node left something"
done
all_nodes start || fail "a node does not start again"
within 10 has_entries 200 2
echo ok
