#!/bin/bash
# What an operator does with the packages, step by step, on a node with a service manager and Docker.
set -u

alerts=/var/log/tocsin/alerts
state=/var/lib/tocsin/baseline.json
failed=0

check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >/tmp/output 2>&1; then
        echo "ok      $what"
    else
        echo "FAILED  $what: $*"
        tail -n 20 /tmp/output
        failed=1
    fi
}
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}
not() {
    ! "$@"
}
prints_nothing() { # what it prints is the reason of the failure
    ! "$@" | grep .
}
journal_has() {
    journalctl -u tocsin -o cat | grep -q "$1"
}
refusals() {
    journalctl -u tocsin -o cat | grep "sensor off"
}
main_pid() {
    systemctl show --property MainPID --value tocsin
}
is_another_process() {
    [ "$(main_pid)" != "$1" ] && systemctl is-active tocsin
}
# What only `is-active` says is true of a service that restarts over and over, too.
runs_on() {
    systemctl is-active tocsin && test "$(systemctl show --property NRestarts --value tocsin)" = 0
}
# Each run of a marked program is an alert of its own, since each has another name.
mark() {
    cp /bin/true "/dev/shm/$1" && "/dev/shm/$1"
    rm -f "/dev/shm/$1"
}
# The time from the moment that Docker calls the container's start to the alert's arrival in the journal. Both are the
# guest's own clock, so that the time that Docker needs under emulation is no part of it.
rang_in_time() { # CONTAINER MILLISECONDS
    local started rang
    within 20 journal_has "\"name\":\"$1\"" || return 1
    started=$(date --date "$(docker inspect --format '{{.State.StartedAt}}' "$1")" +%s%3N)
    rang=$(journalctl -u tocsin -o short-unix | grep "Privileged Container Detected" | grep -m 1 "\"name\":\"$1\"" |
        cut -d ' ' -f 1 | sed 's/\.\(...\).*/\1/')
    took=$((rang - started))
    [ $took -le "$2" ]
}

check "Docker runs" within 120 docker version
check "an image is there" docker import /busybox.tar busybox

check "the package is installed" dpkg -i /earlier/*.deb
check "it is enabled" systemctl is-enabled tocsin
check "it has started, and the sensors are attached" systemctl is-active tocsin
check "nothing was refused to it" prints_nothing refusals
check "it may do little: an exposure of 4.0 at most" systemd-analyze security --offline=true --threshold=40 \
    /usr/lib/systemd/system/tocsin.service
check "a privileged container starts" docker run -d --network none --privileged --name privileged busybox sleep 1000
took=unknown
check "it rings within two seconds" rang_in_time privileged 2000
echo "        after $took ms"
check "the manual is there" test -s /usr/share/man/man8/tocsin.8.gz
check "the rules can be read" test -s /usr/share/tocsin/rules/host/privileged-container-medium.yml
check "it tells how it is" tocsin status

sed -i '0,/^#min-level = .*/s//min-level = "informational"/' /etc/tocsin/tocsin.toml
mkdir -p /etc/tocsin/tocsin.toml.d
cat >/etc/tocsin/tocsin.toml.d/file.toml <<END
[output.file]
path = "$alerts"
END
check "the configuration is sound" tocsin config check
before=$(main_pid)
check "an upgrade is installed" dpkg -i --force-confold /packages/*.deb
check "it runs anew after the upgrade" within 10 is_another_process "$before"
check "the changed configuration is kept" grep -q 'min-level = "informational"' /etc/tocsin/tocsin.toml
check "what was learned is kept" test -s $state

# Restarts with alerts in flight. The end-to-end tests do it under heavy load; here it is the service manager who stops and
# starts. What an output had delivered is what the log had.
for round in 1 2 3; do
    for number in 1 2 3 4 5 6 7 8; do
        mark "mark-$round$number"
    done
    # Five starts within a minute would be one too many for the unit.
    systemctl reset-failed tocsin
    systemctl restart tocsin
done
check "it has marks from before and after each restart" within 10 grep -q mark-38 $alerts
marks() { # of each alert in standard input about a mark, its name
    grep '"title":"Process execution from temporary folder"' | sed -n 's|.*"/dev/shm/\(mark-[0-9]*\)".*|\1|p' | sort
}
marks <$alerts >/tmp/in-file
journalctl -u tocsin -o cat | marks >/tmp/in-journal
echo "        $(wc -l </tmp/in-file) in the file, $(wc -l </tmp/in-journal) in the journal, of 24"
sort -u /tmp/in-file >/tmp/in-file-once
check "nothing that the file had is repeated in it" diff /tmp/in-file-once /tmp/in-file
check "nothing that another output had is lost" test -z "$(comm -13 /tmp/in-file-once <(sort -u /tmp/in-journal))"
check "nothing is lost but while nobody watched" test "$(wc -l </tmp/in-file-once)" -ge 20

check "the service can be stopped" systemctl stop tocsin
check "it ended well" test "$(systemctl show --property Result --value tocsin)" = success
check "it starts again" systemctl start tocsin
told_at_the_start() {
    journalctl -o cat "_SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value tocsin)" |
        grep '"event.startup":true' | grep -q '"name":"privileged"'
}
check "the container that stands is told of at the start" within 10 told_at_the_start
check "the service makes room for the container" systemctl stop tocsin

agent_log_has() {
    docker logs agent 2>&1 | grep -q "$1"
}
sensors_off() {
    docker logs agent 2>&1 | grep "sensor off"
}
in_container() { # WHAT OPTION...: the agent in a container watches the node and is silent about itself
    local what=$1
    shift
    check "$what: starts" docker run -d --name agent --pid host --network host -v /:/host:ro "$@" tocsin
    check "$what: watches" within 30 agent_log_has " watching "
    check "$what: no sensor is off" prints_nothing sensors_off
    mark "mark-$what"
    check "$what: sees the node's programs" within 10 agent_log_has "/dev/shm/mark-$what"
    docker run -d --rm --network none --privileged --name "seen-by-$what" busybox sleep 1000
    check "$what: sees other containers, by name" within 10 agent_log_has "\"name\":\"seen-by-$what\""
    check "$what: names the node, not its container" agent_log_has '"hostname":"guest"'
    check "$what: is silent about itself" not agent_log_has '"name":"agent"'
    docker rm -f agent "seen-by-$what"
}
cp /usr/bin/tocsin /container/tocsin-x86_64
check "the image is built" docker build -t tocsin /container
check "the image is small" test "$(docker image inspect --format '{{.Size}}' tocsin)" -le $((25 << 20))
in_container privileged --privileged -v tocsin:/var/lib/tocsin
in_container few-rights --cap-drop ALL --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE \
    --cap-add DAC_READ_SEARCH --cap-add SYS_RESOURCE --security-opt apparmor=unconfined \
    --read-only --tmpfs /run/tocsin -v tocsin:/var/lib/tocsin

check "the package is removed" dpkg -r tocsin
check "nothing of it runs" not systemctl is-active tocsin
check "its program is gone" not test -e /usr/bin/tocsin
check "its configuration is kept until it is purged" test -e /etc/tocsin/tocsin.toml
check "the package is purged" dpkg -P tocsin
for left in /etc/tocsin /var/lib/tocsin /var/log/tocsin /run/tocsin /usr/share/tocsin /usr/share/doc/tocsin \
    /etc/systemd/system/multi-user.target.wants/tocsin.service; do
    check "$left is gone" not test -e $left
done

# The same node takes the other family's package. rpm has a database of its own there, which knows no shell.
systemctl reset-failed
check "rpm: installed" rpm --force-debian --nodeps --install /earlier/*.rpm
check "rpm: started" systemctl enable --now tocsin
check "rpm: runs" runs_on
echo "# changed" >>/etc/tocsin/tocsin.toml
before=$(main_pid)
check "rpm: upgraded" rpm --force-debian --nodeps --upgrade /packages/*.rpm
check "rpm: runs anew after the upgrade" within 10 is_another_process "$before"
check "rpm: the changed configuration is kept" grep -q '# changed' /etc/tocsin/tocsin.toml
check "rpm: removed" rpm --force-debian --erase tocsin
check "rpm: nothing of it runs" not systemctl is-active tocsin
check "rpm: it is not enabled any more" not test -e /etc/systemd/system/multi-user.target.wants/tocsin.service
check "rpm: its program is gone" not test -e /usr/bin/tocsin
check "rpm: the changed configuration is set aside" test -e /etc/tocsin/tocsin.toml.rpmsave

[ $failed = 0 ] && echo "tocsin-guest: passed"
