#!/bin/busybox sh
# The guest's first process: starts the agent, runs a program from /tmp and asks for a page until the agent rings about both,
# and powers off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
cp /bin/busybox /tmp/busybox

mkdir /tmp/rules
cat >/tmp/rules/request.yml <<'RULE'
title: Request of the emulated machine
id: 00000000-0000-4000-8000-000000000001
logsource: {product: linux, category: network_connection}
detection:
    request: {http.host: 127.0.0.1, http.path: /emulated}
    condition: request
level: high
RULE
httpd -p 127.0.0.1:80 -h /tmp

TOCSIN_WIRE_OF=everywhere tocsin run --rules-dir /tmp/rules >/tmp/alerts 2>/tmp/messages &
agent=$!
deadline=$(($(cut -d. -f1 /proc/uptime) + 90))
while kill -0 $agent 2>/dev/null && [ "$(cut -d. -f1 /proc/uptime)" -lt $deadline ]; do
    /tmp/busybox true
    wget -q -O /dev/null http://127.0.0.1/emulated?query
    if grep -q 'Process execution from temporary folder' /tmp/alerts &&
        grep -q 'Request of the emulated machine' /tmp/alerts; then
        # What a sensor that is off would have seen, the tests of this machine's kernel do not miss.
        grep -q 'sensor off' /tmp/messages || echo "tocsin-vm: passed"
        break
    fi
    sleep 0.2
done
head -n 20 /tmp/alerts
cat /tmp/messages
poweroff -f
