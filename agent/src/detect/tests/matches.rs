//! What rules can say besides matching, and what a match tells.

use super::*;

#[test]
fn a_list_stands_for_its_values() {
    let lists = |values: &str| format!("name: programs\nvars:\n    logins: {values}\n");
    let rule = LOGIN.replace("Image: /bin/login", "Image|endswith|expand: '%logins%'");
    let (mut rules, problems) = load_all(&[&rule, &lists("[/login]"), &lists("[/su]")]);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(titles(&mut rules, &mut login("ada", 1)), ["Failed login"]);
    let mut su = observed(r#"{"time":1,"category":"process_creation","Image":"/bin/su"}"#);
    assert_eq!(
        titles(&mut rules, &mut su),
        ["Failed login"],
        "the second list extends the first"
    );
    check(&[&rule], &["0.yml:6: there is no list of the name logins"], 0);
    check(
        &[&rule, &lists("[]")],
        &[
            "1.yml:3: the list logins is empty",
            "0.yml:6: there is no list of the name logins",
        ],
        0,
    );
    check(
        &[&lists("7")],
        &["0.yml:3: not a file of lists: vars.logins: invalid type: integer `7`, expected a sequence"],
        0,
    );
    let filter = "title: May\nlogsource: {product: linux, category: process_creation}\nfilter:\n    rules: any\n    who:\n        \
                  User|expand: '%admins%'\n    condition: not who\n";
    let admins = "name: people\nvars: {admins: [ada]}\n";
    check(&[LOGIN, filter], &["1.yml:6: there is no list of the name admins"], 1);
    let (mut rules, problems) = load_all(&[LOGIN, filter, admins]);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(titles(&mut rules, &mut login("ada", 1)).is_empty());
}

#[test]
fn wildcards_are_anchored_at_the_right_end() {
    let cases = [
        ("Image|endswith: '/log?n'", true),
        ("Image|endswith: '/log?'", false),
        ("Image|startswith: '/b?n/'", true),
        ("Image|startswith: 'b?n/'", false),
        ("Image|endswith: [/su, '/lo*n']", true),
    ];
    for (item, expected) in cases {
        let (mut rules, problems) = load_all(&[&LOGIN.replace("Image: /bin/login", item)]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(!titles(&mut rules, &mut login("ada", 1)).is_empty(), expected, "{item}");
    }
}

#[test]
fn a_rule_can_ask_instead_of_alerting() {
    let asking = format!("{LOGIN}tocsin: {{ask: docker-api-probe}}\n");
    let (mut rules, problems) = load_all(&[&asking, &LOGIN.replace("11111111", "33333333").replace("low", "high")]);
    assert!(problems.is_empty(), "{problems:?}");
    let asks: Vec<_> = rules
        .judge(&mut login("ada", 1))
        .iter()
        .map(|found| found.asks)
        .collect();
    assert_eq!(asks, [Some(Ask::DockerApiProbe), None]);
}

#[test]
fn a_rule_can_have_texts_searched_for() {
    let list = "name: more\nvars: {servers: [Server listening on %s, SSH-2.0-server]}\n";
    let asking = |texts: &str| format!("{LOGIN}tocsin: {{ask: executable-content, texts: {texts}}}\n");
    let (rules, problems) = load_all(&[list, &asking("['%servers%', SSH-2.0-server, another one]")]);
    assert!(problems.is_empty(), "{problems:?}");
    let texts: Vec<_> = rules.iter().flat_map(|rule| &rule.texts).map(|text| &**text).collect();
    assert_eq!(texts, ["Server listening on %s", "SSH-2.0-server", "another one"]);
    let only_then = "0.yml:9: a rule has texts if it asks for executable-content, and only then";
    check(&[&asking("[]")], &[only_then], 0);
    check(
        &[&format!("{LOGIN}tocsin: {{texts: [SSH-2.0-server]}}\n")],
        &[only_then],
        0,
    );
    check(
        &[&asking("['%nothing%']")],
        &["0.yml:9: there is no list of the name nothing"],
        0,
    );
    let odd = "0.yml:9: cannot search for \"SSH-*-server\": 8 to 128 bytes, without *, ? and \\";
    check(&[&asking("[SSH-*-server]")], &[odd], 0);
}

#[test]
fn a_rule_can_give_a_role_instead_of_alerting() {
    let giving = format!("{LOGIN}tocsin: {{role: door}}\n");
    let (mut rules, problems) = load_all(&[&giving]);
    assert!(problems.is_empty(), "{problems:?}");
    let found = rules.judge(&mut login("ada", 1));
    assert_eq!(found[0].rule.role.as_deref(), Some("door"));
    let both = format!("{LOGIN}tocsin: {{role: door, ask: docker-api-probe}}\n");
    check(&[&both], &["0.yml:9: a rule either asks or gives a role"], 0);
}

#[test]
fn a_match_names_its_fields() {
    let (mut rules, _) = load_all(&[LOGIN]);
    let found = rules.judge(&mut login("ada", 1));
    assert_eq!(found[0].matched, [("Image".into(), "/bin/login".into())]);
    assert_eq!(found[0].rule.file, Some(PathBuf::from("0.yml")));
}

#[test]
fn a_match_names_secret_variables_without_their_values() {
    let rule = LOGIN.replace("{Image: /bin/login}", "{container.environment|contains: hunter}");
    let (mut rules, _) = load_all(&[&rule]);
    let line = r#"{"time":1,"category":"process_creation","container.environment":["PASS=hunter2","A=b"]}"#;
    let matched = &rules.judge(&mut observed(line))[0].matched;
    let expected = serde_json::json!(["PASS=[redacted]", "A=[redacted]"]);
    assert_eq!(*matched, [("container.environment".into(), expected)]);
}
