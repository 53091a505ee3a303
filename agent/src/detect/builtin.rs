//! The rules that are part of the binary.

use include_dir::{Dir, File, include_dir};

use super::document::RuleFile;

static RULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rules");

/// The rule files.
pub fn rules() -> Vec<RuleFile> {
    files().filter(|file| is_rule(file.path())).map(read).collect()
}

/// The samples beside a rule file, by the rule file's path.
pub fn samples(rule: &std::path::Path) -> Option<&'static str> {
    RULES.get_file(rule.with_extension("jsonl"))?.contents_utf8()
}

/// Whether a file's name says that it holds rules.
pub fn is_rule(path: &std::path::Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yml" || extension == "yaml")
}

fn files() -> impl Iterator<Item = &'static File<'static>> {
    let mut folders = vec![&RULES];
    std::iter::from_fn(move || {
        let folder = folders.pop()?;
        folders.extend(folder.dirs());
        Some(folder.files())
    })
    .flatten()
}

fn read(file: &File<'_>) -> RuleFile {
    RuleFile {
        path: file.path().to_owned(),
        text: String::from_utf8_lossy(file.contents()).into_owned(),
        built_in: true,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::detect::{Rules, document::Documents, samples::run};

    #[test]
    fn the_rules_load_without_a_word() {
        let (documents, problems) = Documents::read(&rules());
        assert!(problems.is_empty(), "{problems:#?}");
        let (rules, problems) = Rules::of(documents);
        assert!(problems.is_empty(), "{problems:#?}");
        let mut names: Vec<_> = rules.iter().map(|rule| &rule.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), rules.iter().count(), "a name is given twice");
    }

    /// Selections cannot be quoted across files, as lists can.
    #[test]
    fn rules_agree_on_who_reads_a_program_from_its_input() {
        const NAME: &str = "reads_program_from_input:";
        fn selection(file: &RuleFile) -> Option<(&Path, Vec<&str>)> {
            let mut lines = file
                .text
                .lines()
                .skip_while(|line| !line.trim_start().starts_with(NAME));
            let indent = |line: &str| line.len() - line.trim_start().len();
            let outer = indent(lines.next()?);
            let inner = lines.take_while(|line| indent(line) > outer).map(str::trim_start);
            Some((&file.path, inner.collect()))
        }
        let rules = rules();
        let selections: Vec<_> = rules.iter().filter_map(selection).collect();
        assert_eq!(selections.len(), 3, "{selections:?}");
        for (path, lines) in &selections {
            assert!(lines.len() > 10, "{path:?}");
            assert_eq!(lines, &selections[0].1, "{path:?}");
        }
    }

    /// A command line holds newlines where it was written with them, and `.` stops there: a rule that does not say `(?s)` is
    /// evaded by pressing Return.
    #[test]
    fn expressions_go_on_behind_a_newline() {
        let files = rules().into_iter().filter(|file| !file.path.starts_with("lists"));
        for RuleFile { path, text, .. } in files {
            let quoted = text.lines().filter_map(|line| Some(line.split_once('\'')?.1));
            for line in quoted.filter(|line| [".*", ".+"].iter().any(|any| line.replace("\\.", "").contains(any))) {
                let says = ["(?s)", "(?is)"].iter().any(|flags| line.contains(flags));
                assert!(says, "{}: without (?s): {}", path.display(), line);
            }
        }
    }

    #[test]
    fn each_says_what_an_operator_needs() {
        let (documents, _) = Documents::read(&rules());
        for placed in documents.rules {
            let (rule, file) = (placed.what, placed.place.file);
            let says = [
                ("id", rule.id.is_some()),
                ("name", rule.name.is_some()),
                ("author", rule.author.is_some()),
                ("level", rule.level.is_some()),
                ("falsepositives", !rule.falsepositives.is_empty()),
                (
                    "description with what to do next",
                    rule.description.is_some_and(|text| {
                        text.contains("Next:") || says(&rule.custom_attributes, &["ask", "role", "teaches"])
                    }),
                ),
            ];
            for (what, said) in says {
                assert!(said, "{}: no {what}", file.display());
            }
            // What concerns the agent itself, or raises no alert, is no technique of anybody's.
            let no_technique = file.starts_with("health") || file.starts_with("baseline");
            assert!(
                no_technique || !rule.tags.is_empty(),
                "{}: no ATT&CK tags",
                file.display()
            );
        }
    }

    /// Whether `tocsin: {…}` has one of the keys.
    fn says(attributes: &HashMap<String, yaml_serde::Value>, keys: &[&str]) -> bool {
        attributes
            .get("tocsin")
            .is_some_and(|ours| keys.iter().any(|key| ours.get(key).is_some()))
    }

    /// The alerts that Microsoft Defender has as well, and its ids for them.
    const DEFENDER: [(&str, &[&str]); 13] = [
        (
            "Privileged Container Detected",
            &[
                "VM_PrivilegedContainerArtifacts",
                "K8S.NODE_PrivilegedContainerArtifacts",
            ],
        ),
        (
            "Privileged command run in container",
            &[
                "VM_PrivilegedExecutionInContainer",
                "K8S.NODE_PrivilegedExecutionInContainer",
            ],
        ),
        ("Exposed Docker daemon detected", &["VM_ExposedDocker"]),
        (
            "SSH server is running inside a container",
            &["VM_ContainerSSH", "K8S.NODE_ContainerSSH"],
        ),
        (
            "Login from a known suspicious IP address",
            &["VM_ThreatIntelSuspectLogon"],
        ),
        (
            "Login after failed attempts from a new address",
            &["VM_SshBruteForceSuccess"],
        ),
        ("Container with a miner image detected", &["VM_MinerInContainerImage"]),
        (
            "Suspicious request to Kubernetes API",
            &["VM_KubernetesAPI", "K8S.NODE_KubernetesAPI"],
        ),
        (
            "Suspicious request to the Kubernetes Dashboard",
            &["VM_KubernetesDashboard", "K8S.NODE_KubernetesDashboard"],
        ),
        (
            "Suspicious PHP execution detected",
            &["AppServices_SuspectPhp", "VM_SuspectPhp"],
        ),
        ("Process execution from temporary folder", &["VM_SuspectExecutablePath"]),
        (
            "Attempt to run high privilege command detected",
            &["AppServices_HighPrivilegeCommand"],
        ),
        ("Web shell detected", &["VM_Webshell", "K8S.NODE_Webshell"]),
    ];

    #[test]
    fn each_bears_the_ids_that_defender_gives_its_finding() {
        let (rules, _) = crate::detect::load(&rules(), Timestamp::UNIX_EPOCH);
        let (documents, _) = Documents::read(&super::rules());
        let silent = |id: Uuid| {
            let mut all = documents.rules.iter();
            all.any(|rule| {
                rule.what.id == Some(id.to_string()) && says(&rule.what.custom_attributes, &["ask", "role", "teaches"])
            })
        };
        for rule in rules.iter().filter(|rule| !silent(rule.id)) {
            let known = DEFENDER.iter().find(|(title, _)| *title == &*rule.title);
            let expected = known.map_or(&[][..], |(_, ids)| ids);
            assert_eq!(rule.compatibility, expected, "{}", rule.name);
        }
    }

    #[test]
    fn each_matches_its_samples_and_no_near_miss() {
        let (documents, _) = Documents::read(&rules());
        let mut failures = Vec::new();
        for file in rules().into_iter().filter(|file| documents.judge_by(&file.path)) {
            let outcome = run(samples(&file.path).unwrap_or_default(), &documents, &file.path);
            let samples = Path::new(&file.path).with_extension("jsonl");
            failures.extend(outcome.lacking().map(|what| format!("{}: {what}", samples.display())));
            failures.extend(
                outcome
                    .failures
                    .iter()
                    .map(|(line, reason)| format!("{}:{line}: {reason}", samples.display())),
            );
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
