#!/bin/busybox sh
# The guest's first process: starts the agent, runs a program from /tmp until the agent rings, and powers off.
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

tocsin run >/tmp/alerts 2>/tmp/messages &
agent=$!
deadline=$(($(cut -d. -f1 /proc/uptime) + 90))
while kill -0 $agent 2>/dev/null && [ "$(cut -d. -f1 /proc/uptime)" -lt $deadline ]; do
    /tmp/busybox true
    if grep -q 'Process execution from temporary folder' /tmp/alerts; then
        echo "tocsin-vm: passed"
        break
    fi
    sleep 0.2
done
head -n 20 /tmp/alerts
cat /tmp/messages
poweroff -f
