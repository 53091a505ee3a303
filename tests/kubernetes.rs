//! `Suspicious request to Kubernetes API`: who looks around with a pod's token, by where he connects to and how often.

use crate::{
    dockerd::Dockerd,
    ocsf::{container_id, level, port},
    tocsin::Tocsin,
    watch::{Subject, Watch},
};

const TITLE: &str = "Suspicious request to Kubernetes API";

#[test]
fn a_tool_that_asks_the_api_is_told_from_one_that_asks_another() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let watch = Watch::start(&dockerd);
    let ask = |name, address: &str| {
        let options = "--network none --cap-add NET_ADMIN --env KUBERNETES_SERVICE_HOST=10.96.0.1 \
                       --env KUBERNETES_SERVICE_PORT=443";
        let options: Vec<_> = options.split_whitespace().collect();
        // `refused` has both addresses in its own network, where nobody listens; `unreachable` has no route.
        let script = format!(
            "[ $HOSTNAME = unreachable ] || for n in 1 2; do ip address add 10.96.0.$n/32 dev lo; done
             curl --silent --max-time 2 --user-agent kubectl --header 'Authorization: Bearer eyJhbGciOi' \
                 https://{address}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        );
        let options = [&options[..], &["--hostname", name]].concat();
        dockerd.run_to_end(name, &options, &[image, "bash", "-c", &script])
    };
    let asked = ["refused", "unreachable"].map(|name| (name, ask(name, "10.96.0.1")));
    for (name, id) in &asked {
        watch.check(TITLE, &Subject { id, name, image }, |alert| {
            port(alert) == Some(443) && level(alert) == "High"
        });
    }
    let another = ask("another", "10.96.0.2");
    let mut expected: Vec<(&str, &[&str])> = vec![(&another, &[])];
    expected.extend(asked.iter().map(|(_, id)| (&**id, &[TITLE] as &[&str])));
    watch.check_all(&expected);
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
