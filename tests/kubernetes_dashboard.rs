//! `Suspicious request to the Kubernetes Dashboard`: by whose address it is that a container asks.

use serde_json::Value;

use crate::{
    dockerd::Dockerd,
    fixtures,
    ocsf::{brief, command_line, container_id, fact, level, title},
    watch::{Subject, Watch},
};

const TITLE: &str = "Suspicious request to the Kubernetes Dashboard";
const DASHBOARD_IMAGE: &str = "kubernetesui/dashboard:v2.7.0";
const HEADLAMP_IMAGE: &str = "ghcr.io/headlamp-k8s/headlamp:v0.30.0";
const API_SERVER_IMAGE: &str = "registry.k8s.io/kube-apiserver:v1.31.0";
const INGRESS_IMAGE: &str = "registry.k8s.io/ingress-nginx/controller:v1.11.2";
const PORT: u16 = 9090;

/// A container with a listener on `PORT`, and its address.
fn serve(dockerd: &Dockerd, name: &str, options: &[&str], image: &str) -> (String, String) {
    let id = dockerd.run(name, options, &[image, "httpd", "-f", "-p", "0.0.0.0:9090"]);
    dockerd.wait_for_listener(&id, PORT);
    let address = dockerd.docker_ok(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &id]);
    (id, address)
}

#[test]
fn a_request_to_the_dashboard_is_told_from_one_to_another_page() {
    let Some(dockerd) = Dockerd::start() else { return };
    let (busybox, debian) = (dockerd.import_busybox(), dockerd.import_debian());
    for tag in [DASHBOARD_IMAGE, HEADLAMP_IMAGE, API_SERVER_IMAGE, INGRESS_IMAGE] {
        dockerd.docker_ok(&["tag", busybox, tag]);
    }
    let labelled = ["--label", "k8s-app=kubernetes-dashboard"];
    let (standing, by_label) = serve(&dockerd, "labelled", &labelled, busybox);
    let watch = Watch::start(&dockerd);
    let (started, by_image) = serve(&dockerd, "named", &[], DASHBOARD_IMAGE);
    let (headlamp, of_headlamp) = serve(&dockerd, "headlamp", &[], HEADLAMP_IMAGE);
    let (_, of_another) = serve(&dockerd, "another", &[], busybox);
    let ask = |name: &str, image: &str, tool: &[&str], address: &str| {
        let url = format!("http://{address}:{PORT}/");
        dockerd.run_to_end(name, &[], &[&[image], tool, &[&url]].concat())
    };
    let curl = ["curl", "--silent", "--max-time", "5"];
    for (name, address, dashboard) in [
        ("to-label", &by_label, &standing),
        ("to-image", &by_image, &started),
        ("to-headlamp", &of_headlamp, &headlamp),
    ] {
        // Who is not told of addresses learns them from the first connection that is accepted there.
        ask(&format!("{name}-first"), debian, &curl, address);
        let id = ask(name, debian, &curl, address);
        let subject = Subject {
            id: &id,
            name,
            image: debian,
        };
        watch.check(TITLE, &subject, |alert| {
            level(alert) == "High" && fact(alert, "destination.container.id") == &**dashboard
        });
    }
    let wget = ["wget", "-q", "-O", "-"];
    let silent = [
        ask("elsewhere", debian, &curl, &of_another),
        ask("ingress", INGRESS_IMAGE, &wget, &by_label),
        ask("api-server", API_SERVER_IMAGE, &wget, &by_label),
    ];
    let expected: Vec<(&str, &[&str])> = silent.iter().map(|id| (&**id, &[] as &[&str])).collect();
    watch.check_all(&expected);
}

#[test]
fn a_request_from_the_node_to_its_own_dashboard_is_graded_low() {
    let Some(dockerd) = Dockerd::start() else { return };
    let busybox = dockerd.import_busybox();
    let labelled = ["--label", "k8s-app=kubernetes-dashboard"];
    let (_, address) = serve(&dockerd, "labelled", &labelled, busybox);
    let (_, of_another) = serve(&dockerd, "another", &[], busybox);
    let watch = Watch::start(&dockerd);
    let program = fixtures::require("busybox").unwrap().join("bin/busybox");
    let from_node = |address: &str| {
        let mut wget = dockerd.command_in_network(program.to_str().unwrap());
        let url = format!("http://{address}:{PORT}/");
        wget.args(["wget", "-q", "-O", "/dev/null", &url]).output().unwrap();
        url
    };
    let (asked, not_asked) = (from_node(&address), from_node(&of_another));
    let about = |alert: &Value, url: &str| container_id(alert).is_empty() && command_line(alert).ends_with(url);
    let alert = watch.told.wait_for_alert(TITLE, |alert| about(alert, &asked));
    assert_eq!(level(&alert), "Low", "{}", brief(&alert));
    let alerts = watch.told.alerts_after_quiet();
    assert!(
        !alerts
            .iter()
            .any(|alert| title(alert) == TITLE && about(alert, &not_asked))
    );
}
