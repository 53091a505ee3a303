//! What is taken over, kept up to date, and left alone.

use tempfile::TempDir;

use super::*;

const RULE: &str = "title: A rule\nid: 11111111-1111-4111-8111-111111111111\nauthor: Ada\nlicense: DRL-1.1\n\
    logsource: {product: linux, category: process_creation}\ndetection:\n    selection: {Image: /bin/x}\n    \
    condition: selection\n";

struct Folders {
    root: TempDir,
}

impl Folders {
    fn new() -> Self {
        let folders = Self {
            root: TempDir::new().unwrap(),
        };
        folders.write("sigma/LICENSE", "Keep the author.\n");
        folders.write("sigma/rules/linux/a.yml", RULE);
        folders.write("sigma/rules/linux/b.yml", &RULE.replace("1111-1", "2222-1"));
        folders.write(
            "sigma/rules/win/c.yml",
            &RULE.replace("linux", "windows").replace("1111-1", "3333-1"),
        );
        folders.write("sigma/rules/bad.yml", "title: [\n");
        folders
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.at(name)).ok()
    }

    /// The first line of the report, or the error.
    fn import(&self, dry_run: bool) -> String {
        let arguments = Arguments {
            from: self.at("sigma/rules"),
            into: Some(self.at("into")),
            dry_run,
        };
        let mut out = Vec::new();
        match run(&arguments, &mut out) {
            Ok(_) => String::from_utf8(out).unwrap(),
            Err(error) => format!("{error:#}"),
        }
    }
}

#[test]
fn an_import_takes_what_can_be_judged_and_says_why_not_the_rest() {
    let folders = Folders::new();
    let expected = "imported: 2 new, 0 updated, 0 unchanged, 0 removed; 2 files skipped\n      1  bad.yml:2: not YAML: did \
                    not find expected node content\n      1  no source of this agent carries windows/process_creation\n";
    assert_eq!(folders.import(true), format!("would be {expected}"));
    assert!(!folders.at("into").exists(), "a dry run writes nothing");
    assert_eq!(folders.import(false), expected);
    let written = folders.read("into/linux/a.yml").unwrap();
    let (head, body) = written.split_once('\n').unwrap();
    assert!(
        head.starts_with("# imported from /") && head.contains("/sigma/rules/linux/a.yml on 2"),
        "{head}"
    );
    assert_eq!(body, RULE);
    assert_eq!(folders.read("into/LICENSE").as_deref(), Some("Keep the author.\n"));
    let (rules, problems) = load(&read(&[folders.at("into")]).0, Timestamp::now());
    assert!(problems.is_empty(), "{problems:?}");
    assert!(rules.iter().any(|rule| &*rule.author == "Ada"));
}

#[test]
fn a_second_import_follows_its_source_and_leaves_others_alone() {
    let folders = Folders::new();
    folders.import(false);
    folders.write("into/own.yml", &RULE.replace("1111-1", "4444-1"));
    folders.write(
        "into/elsewhere.yml",
        &format!("# imported from /another/folder.yml on 2026-01-01\n{RULE}"),
    );
    folders.write("sigma/rules/linux/a.yml", &RULE.replace("/bin/x", "/bin/y"));
    fs::remove_file(folders.at("sigma/rules/linux/b.yml")).unwrap();
    folders.write("sigma/LICENSE", "Keep the author, and say so.\n");
    let said = folders.import(false);
    assert!(said.contains("LICENSE differs from "), "{said}");
    assert!(
        said.contains("imported: 0 new, 1 updated, 0 unchanged, 1 removed; 2 files skipped"),
        "{said}"
    );
    assert!(folders.read("into/linux/a.yml").unwrap().contains("/bin/y"));
    assert_eq!(folders.read("into/linux/b.yml"), None);
    assert!(folders.at("into/own.yml").exists() && folders.at("into/elsewhere.yml").exists());
    assert!(
        folders
            .import(false)
            .contains("0 new, 0 updated, 1 unchanged, 0 removed")
    );
}

#[test]
fn what_no_import_has_written_is_never_replaced() {
    let folders = Folders::new();
    folders.write("into/linux/b.yml", "# mine\n");
    let said = folders.import(false);
    assert!(
        said.ends_with("into/linux/b.yml was not imported: move it away"),
        "{said}"
    );
    assert_eq!(folders.read("into/linux/b.yml").as_deref(), Some("# mine\n"));
    assert_eq!(folders.read("into/linux/a.yml"), None, "nothing is done by halves");
}
