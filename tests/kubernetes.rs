//! `Suspicious request to Kubernetes API`: a tool with the pod's token, by where it connects to.

use crate::{
    dockerd::Dockerd,
    ocsf::{level, port},
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
             curl --silent --max-time 2 --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt \
                 https://{address}/api/v1/namespaces/kube-system/secrets"
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
