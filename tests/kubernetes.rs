//! `Suspicious request to Kubernetes API`: who looks around with a pod's token, by where he connects to and how often.

use crate::{
    dockerd::Dockerd,
    ocsf::{brief, container_id, fact, has_signal, level},
    tocsin::Tocsin,
    watch::{Subject, Watch},
};

const TITLE: &str = "Suspicious request to Kubernetes API";
const DASHBOARD: &str = "Suspicious request to the Kubernetes Dashboard";

/// Answers every question for a name: `kubernetes.default…` by 10.96.7.7, a dashboard's by 10.96.7.8, others by 10.96.7.9.
const RESOLVER: &str = r#"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    last = 7 if query[13:].startswith(b"kubernetes\7default") else 8 if b"kubernetes-dashboard" in query else 9
    # Of IPv6 there is none.
    address = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 96, 7, last]) if query[end - 4:end - 2] == b"\0\1" else b""
    head = query[:2] + b"\x81\x80\0\1\0" + bytes([1 if address else 0]) + b"\0\0\0\0"
    server.sendto(head + query[12:end] + address, client)
"#;

#[test]
fn who_asks_the_control_plane_is_told_from_who_asks_another() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let watch = Watch::start(&dockerd);
    // All but `unreachable` have every address in their own network, where nobody listens.
    let script = r#"
        if [ $HOSTNAME != unreachable ]; then
            for place in 10.0.0.5 10.96.0.1 10.96.0.2 10.96.7.7 10.96.7.8 10.96.7.9; do
                ip address add $place/32 dev lo
            done
            python3 -c "$RESOLVER" &
            until ss -ln | grep -q 127.0.0.1:53; do :; done
        fi
        curl --silent --insecure --max-time 2 --user-agent kubectl --header 'Authorization: Bearer eyJhbGciOi' "$URL""#;
    let ask = |name, url: &str| {
        let variables = [format!("RESOLVER={RESOLVER}"), format!("URL={url}")];
        let options = "--network none --cap-add NET_ADMIN --dns 127.0.0.1 --env KUBERNETES_SERVICE_HOST=10.96.0.1 \
                       --env KUBERNETES_SERVICE_PORT=443 --hostname";
        let mut options: Vec<_> = options.split_whitespace().chain([name]).collect();
        options.extend(variables.iter().flat_map(|variable| ["--env", variable]));
        dockerd.run_to_end(name, &options, &[image, "bash", "-c", script])
    };
    let rights = "https://10.96.0.1/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let proxied =
        "https://192.0.2.1/api/v1/namespaces/kubernetes-dashboard/services/https:kubernetes-dashboard:/proxy/";
    let dashboard = "http://kubernetes-dashboard.kubernetes-dashboard.svc/";
    let asked = [
        ("refused", rights, TITLE, "kubernetes-api"),
        ("unreachable", rights, TITLE, "kubernetes-api"),
        (
            "by-name",
            "https://kubernetes.default.svc/api/v1/secrets",
            TITLE,
            "kubernetes-api",
        ),
        ("kubelet", "https://10.0.0.5:10250/pods", TITLE, "kubelet"),
        ("etcd", "http://10.0.0.5:2379/v2/keys/registry", TITLE, "etcd"),
        ("dashboard", dashboard, DASHBOARD, "kubernetes-dashboard"),
        ("proxied", proxied, DASHBOARD, ""),
    ];
    let asked = asked.map(|(name, url, title, role)| (name, ask(name, url), title, role));
    for (name, id, title, role) in &asked {
        watch.check(title, &Subject { id, name, image }, |alert| {
            level(alert) == "High" && fact(alert, "destination.role").as_str().unwrap_or_default() == *role
        });
    }
    let silent = [
        ask("another-address", "https://10.96.0.2/api/v1/secrets"),
        ask("another-port", "http://10.0.0.5:8080/pods"),
        ask("another-name", "https://www.example.org/api/v1/secrets"),
    ];
    let mut expected: Vec<(&str, &[&str])> = silent.iter().map(|id| (&**id, &[] as &[&str])).collect();
    expected.extend(
        asked
            .iter()
            .map(|(_, id, title, _)| (&**id, std::slice::from_ref(title))),
    );
    watch.check_all(&expected);
    let alerts = watch.told.alerts();
    let of_kubelet = alerts.iter().find(|alert| container_id(alert) == asked[3].1).unwrap();
    for signal in ["tool", "token-or-path", "posing"] {
        assert!(has_signal(of_kubelet, signal), "{signal}: {}", brief(of_kubelet));
    }
}

#[test]
fn a_look_around_is_high_and_its_scan_is_counted() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let options = "--network none --cap-add NET_ADMIN --env KUBERNETES_SERVICE_HOST=10.96.0.1 \
                   --env KUBERNETES_SERVICE_PORT=443";
    let options: Vec<_> = options.split_whitespace().collect();
    // What somebody types who has found a pod's token: who am I, what may I do, what else is there.
    let script = r#"
        ip address add 10.96.0.0/24 dev lo
        mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
        echo eyJhbGciOi >/var/run/secrets/kubernetes.io/serviceaccount/token
        token=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)
        ask() { curl -sk -m 2 -A kubectl -H "Authorization: Bearer $token" "https://$KUBERNETES_SERVICE_HOST$@"; }
        ask /version
        ask /apis/authorization.k8s.io/v1/selfsubjectaccessreviews -X POST -d '{"spec":{}}'
        ask /api/v1/namespaces/kube-system/secrets
        for n in {1..60}; do nc -z -w 1 10.96.0.$n 443; done"#;
    let intruder = dockerd.run_to_end("intruder", &options, &[image, "bash", "-c", script]);
    for (title, grade) in [(TITLE, "High"), ("Scan of the Kubernetes service network", "Medium")] {
        agent.wait_for_alert(title, |alert| container_id(alert) == intruder && level(alert) == grade);
    }
}
