//! Who serves Docker's interface to others.

use super::{Action, By, DOCKER};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "dockerd-tcp",
        origin: "ours",
        does: "`dockerd -H tcp://127.0.0.1:23750`",
        by: By::Daemon(&["-H", "tcp://127.0.0.1:23750"]),
        raises: &[(DOCKER, "Medium")],
        because: "Everybody on the node is root. On an address that others reach it is high or critical.",
    },
    Action {
        name: "dockerd-everywhere",
        origin: "ours",
        does: "`dockerd --tls=false -H tcp://0.0.0.0:2375`",
        by: By::Daemon(&["--tls=false", "-H", "tcp://0.0.0.0:2375"]),
        raises: &[(DOCKER, "Critical")],
        because: "",
    },
    Action {
        name: "dockerd-configured",
        origin: "ours",
        does: "the same by `hosts` in `daemon.json`",
        by: By::ConfiguredDaemon(r#"{"tls": false, "hosts": ["tcp://0.0.0.0:2375"]}"#),
        raises: &[(DOCKER, "Critical")],
        because: "The command line tells nothing.",
    },
    Action {
        name: "dockerd-verifies",
        origin: "twin",
        does: "the same with `--tlsverify`",
        by: By::VerifyingDaemon(&["-H", "tcp://127.0.0.1:23760"]),
        raises: &[],
        because: "Who has no certificate is turned away.",
    },
    Action {
        name: "dockerd-unix",
        origin: "twin",
        does: "its unix socket alone",
        by: By::Daemon(&[]),
        raises: &[],
        because: "",
    },
    Action {
        name: "published-2375",
        origin: "twin",
        does: "docker-proxy publishes port 2375 of a container that serves pages",
        by: By::Docker("docker run --detach --name $NAME --publish 127.0.0.1:2375:2375 $BUSYBOX httpd -f -p 2375"),
        raises: &[],
        because: "The port is asked over loopback what it serves.",
    },
    Action {
        name: "nginx-called-dockerd",
        origin: "twin",
        does: "nginx under the name dockerd, on port 2375",
        by: By::Host(
            "cp /usr/sbin/nginx /opt/dockerd
             echo 'events {} http { server { listen 127.0.0.1:2375; } }' >/opt/dockerd.conf
             /opt/dockerd -c /opt/dockerd.conf -g 'daemon off; pid /run/dockerd.pid;' &",
        ),
        raises: &[],
        because: "The name says nothing.",
    },
];
