//! A rule's ATT&CK tags as OCSF's `attack` objects: one a tactic or technique, since tags do not pair them.

use serde::{Serialize, Serializer, ser::SerializeSeq};

/// Tags such as `attack.execution` and `attack.t1059.004`; others are passed over.
pub(super) struct Attacks<'a>(pub(super) &'a [String]);

/// ATT&CK's tactics, as Sigma writes them, with their ids.
const TACTICS: [(&str, &str, &str); 14] = [
    ("reconnaissance", "Reconnaissance", "TA0043"),
    ("resource-development", "Resource Development", "TA0042"),
    ("initial-access", "Initial Access", "TA0001"),
    ("execution", "Execution", "TA0002"),
    ("persistence", "Persistence", "TA0003"),
    ("privilege-escalation", "Privilege Escalation", "TA0004"),
    ("defense-evasion", "Defense Evasion", "TA0005"),
    ("credential-access", "Credential Access", "TA0006"),
    ("discovery", "Discovery", "TA0007"),
    ("lateral-movement", "Lateral Movement", "TA0008"),
    ("collection", "Collection", "TA0009"),
    ("command-and-control", "Command and Control", "TA0011"),
    ("exfiltration", "Exfiltration", "TA0010"),
    ("impact", "Impact", "TA0040"),
];

impl<'a> Attacks<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.each().next().is_none()
    }

    fn each(&self) -> impl Iterator<Item = Attack<'a>> {
        self.0.iter().filter_map(|tag| Attack::from_tag(tag))
    }
}

impl Serialize for Attacks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for attack in self.each() {
            list.serialize_element(&attack)?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct Attack<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tactic: Option<Tactic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    technique: Option<Technique<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_technique: Option<Technique<'a>>,
}

#[derive(Serialize)]
struct Tactic {
    uid: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct Technique<'a> {
    #[serde(serialize_with = "upper_case")]
    uid: &'a str,
}

impl<'a> Attack<'a> {
    fn from_tag(tag: &'a str) -> Option<Self> {
        let name = tag.strip_prefix("attack.")?;
        if let Some((_, name, uid)) = TACTICS.into_iter().find(|(sigma, ..)| *sigma == name) {
            return Some(Self {
                tactic: Some(Tactic { uid, name }),
                technique: None,
                sub_technique: None,
            });
        }
        let number = name.strip_prefix(['t', 'T'])?;
        if !number.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (technique, sub) = name
            .split_once('.')
            .map_or((name, None), |(technique, _)| (technique, Some(name)));
        Some(Self {
            tactic: None,
            technique: Some(Technique { uid: technique }),
            sub_technique: sub.map(|uid| Technique { uid }),
        })
    }
}

fn upper_case<S: Serializer>(text: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_tactics_and_techniques() {
        let cases = [
            (
                "attack.execution",
                r#"[{"tactic":{"uid":"TA0002","name":"Execution"}}]"#,
            ),
            ("attack.t1611", r#"[{"technique":{"uid":"T1611"}}]"#),
            (
                "attack.t1059.004",
                r#"[{"technique":{"uid":"T1059"},"sub_technique":{"uid":"T1059.004"}}]"#,
            ),
            ("attack.g0016", "[]"),
            ("cve.2024-1", "[]"),
            ("attack.tool", "[]"),
        ];
        for (tag, expected) in cases {
            let tags = [tag.to_owned()];
            let attacks = Attacks(&tags);
            assert_eq!(serde_json::to_string(&attacks).unwrap(), expected, "of {tag}");
            assert_eq!(attacks.is_empty(), expected == "[]");
        }
    }
}
