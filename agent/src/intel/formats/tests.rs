//! What each format says, in the words of those who write it.

use std::{env, fs, path::Path};

use super::*;
use crate::intel::{indicator, list::List};

fn read_as(format: Format, text: &str) -> Result<Contents, String> {
    let settings = FeedSettings {
        format,
        ..FeedSettings::default()
    };
    read(&settings, &mut text.as_bytes())
}

/// What is said of an address: the indicator, how sure, until when (by the second before which it is asked), the tags.
fn say(list: &List, ip: &str) -> Option<String> {
    let found = list.find(ip.parse().unwrap(), Timestamp::UNIX_EPOCH)?;
    let tags: Vec<_> = found.tags.iter().map(AsRef::as_ref).collect();
    Some(format!(
        "{} {} {}",
        indicator(found.indicator),
        found.confidence,
        tags.join(",")
    ))
}

/// What is said of some addresses, and what was refused.
fn check(format: Format, text: &str, expected: &[(&str, Option<&str>)], refused: &[(Option<usize>, &str)]) {
    // Whoever does not name the format gets the same.
    for format in [format, Format::Auto] {
        let Contents {
            list, refused: found, ..
        } = read_as(format, text).unwrap();
        for (ip, expected) in expected {
            assert_eq!(say(&list, ip).as_deref(), *expected, "{ip}");
        }
        assert_eq!(found.count, refused.len(), "{found:?}");
        for ((line, reason), (expected_line, expected)) in found.told.iter().zip(refused) {
            assert!(line == expected_line && reason.contains(expected), "{line:?}: {reason}");
        }
    }
}

#[test]
fn plain_lists() {
    let text = "\u{FEFF}# a comment\r\n; another\r\n\r\n77.90.185.20\t10\n192.0.2.7/24 ; SBL1\n  2001:db8::/32\n\
                example.org\n198.51.100.1:443\n0.0.0.0/0\n";
    check(
        Format::Plain,
        text,
        &[
            ("77.90.185.20", Some("77.90.185.20 50 ")),
            ("192.0.2.200", Some("192.0.2.0/24 50 ")),
            ("2001:db8:1::1", Some("2001:db8::/32 50 ")),
            ("198.51.100.1", Some("198.51.100.1 50 ")),
            ("77.90.185.21", None),
        ],
        &[(Some(7), "\"example.org\" is no address"), (Some(9), "every address")],
    );
}

#[test]
fn a_line_that_is_no_text_or_too_long_is_refused() {
    let mut text = b"192.0.2.1\n\xff\xfe\n".to_vec();
    text.extend(vec![b'1'; 1 << 17]);
    text.extend(b"\n192.0.2.2\n");
    let Contents { list, refused, .. } = read(&FeedSettings::default(), &mut &*text).unwrap();
    assert_eq!((list.len(), refused.count), (2, 2));
    assert_eq!(refused.told[1].0, Some(3));
}

#[test]
fn tables_of_abuse_ch() {
    let feodo = "################\n# Feodo Tracker Botnet C2 IP Blocklist (recommended)   #\n#\n\
        \"first_seen_utc\",\"dst_ip\",\"dst_port\",\"c2_status\",\"last_online\",\"malware\"\n\
        \"2021-01-17 07:44:46\",\"192.0.2.4\",\"8080\",\"online\",\"2026-11-24\",\"Emotet\"\n\
        \"2021-01-17 07:44:46\",\"none\",\"8080\"\n";
    check(
        Format::Csv,
        feodo,
        &[("192.0.2.4", Some("192.0.2.4 50 Emotet"))],
        &[(Some(6), "\"none\" is no address")],
    );
    let threatfox = "# ThreatFox IOCs: recent additions - CSV format\n\
        # \"first_seen_utc\",\"ioc_id\",\"ioc_value\",\"ioc_type\",\"threat_type\",\"malware_printable\",\"confidence_level\",\"tags\"\n\
        \"2026-11-24 09:35:04\", \"1\", \"192.0.2.5:8888\", \"ip:port\", \"botnet_cc\", \"Cobalt Strike\", \"100\", \"a,b\"\n\
        \"2026-11-24 09:35:04\", \"2\", \"c2.example\", \"domain\", \"botnet_cc\", \"Unknown\", \"75\", \"None\"\n\
        # Number of entries: 2\n";
    check(
        Format::Csv,
        threatfox,
        &[("192.0.2.5", Some("192.0.2.5 100 botnet_cc,Cobalt Strike,a,b"))],
        &[],
    );
    check(
        Format::Csv,
        "1,192.0.2.0/28,x\n2,y,z\n",
        &[("192.0.2.15", Some("192.0.2.0/28 50 "))],
        &[(Some(2), "no address")],
    );
}

#[test]
fn bundles_of_stix() {
    let text = r#"{"type": "bundle", "id": "bundle--1", "objects": [
        {"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.1' OR ipv6-addr:value='2001:db8::1']",
         "confidence": 85, "indicator_types": ["malicious-activity"], "labels": ["c2"]},
        {"type": "indicator", "pattern": "[ipv4-addr:value ISSUBSET '198.51.100.0/24'] OR [domain-name:value = 'a AND b']"},
        {"type": "indicator", "pattern": "[network-traffic:dst_ref.value = '192.0.2.2']", "valid_until": "1969-01-01T00:00:00Z"},
        {"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.3']", "revoked": true},
        {"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.4' AND network-traffic:dst_port = 443]"},
        {"type": "indicator", "pattern": "[ipv4-addr:value IN ('192.0.2.6','192.0.2.7/32')]"},
        {"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.8']", "valid_from": "9999-01-01T00:00:00Z"},
        {"type": "indicator", "pattern": "[ipv4-addr:value LIKE '192.0.2.%']"},
        {"type": "indicator", "pattern": "[domain-name:value = 'example.org']"},
        {"type": "indicator", "pattern": "[x:y = 'ipv4-addr:value']"},
        {"type": "indicator", "pattern": "[ipv4-addr:value = '300.0.0.1']"},
        {"type": "indicator", "pattern": 7},
        {"type": "ipv4-addr", "value": "192.0.2.5"}]}"#;
    check(
        Format::Stix,
        text,
        &[
            ("192.0.2.1", Some("192.0.2.1 85 malicious-activity,c2")),
            ("2001:db8::1", Some("2001:db8::1 85 malicious-activity,c2")),
            ("198.51.100.9", Some("198.51.100.0/24 50 ")),
            ("192.0.2.2", None),
            ("192.0.2.3", None),
            ("192.0.2.4", None),
            ("192.0.2.5", None),
            ("192.0.2.6", Some("192.0.2.6 50 ")),
            ("192.0.2.7", Some("192.0.2.7 50 ")),
            ("192.0.2.8", None),
        ],
        &[
            (None, "more than an address"),
            (None, "it is not valid yet"),
            (None, "no comparison with an address"),
            (None, "\"300.0.0.1\" is no address"),
            (None, "an object of the bundle"),
        ],
    );
}

#[test]
fn events_of_misp() {
    let event = r#"{"Event": {"info": "x", "Tag": [{"name": "tlp:clear"}], "Attribute": [
        {"type": "ip-dst", "value": "192.0.2.1", "to_ids": true, "Tag": [{"name": "c2"}]},
        {"type": "ip-dst|port", "value": "192.0.2.2|443", "to_ids": true},
        {"type": "ip-src", "value": "2001:db8::1"},
        {"type": "ip-src", "value": "192.0.2.3", "to_ids": false},
        {"type": "ip-src", "value": "192.0.2.4", "deleted": true},
        {"type": "domain", "value": "example.org", "to_ids": true},
        {"type": "ip-src", "value": "nowhere"},
        {"type": "ip-src"}],
        "Object": [{"name": "ip-port", "Attribute": [{"type": "ip-dst", "value": "192.0.2.5", "to_ids": true}]}]}}"#;
    let expected: &[(&str, Option<&str>)] = &[
        ("192.0.2.1", Some("192.0.2.1 50 tlp:clear,c2")),
        ("192.0.2.2", Some("192.0.2.2 50 tlp:clear")),
        ("2001:db8::1", Some("2001:db8::1 50 tlp:clear")),
        ("192.0.2.3", None),
        ("192.0.2.4", None),
        ("192.0.2.5", Some("192.0.2.5 50 ")),
    ];
    let refused = [(None, "\"nowhere\" is no address"), (None, "missing field `value`")];
    check(Format::Misp, event, expected, &refused);
    check(Format::Misp, &format!("[{event}]"), expected, &refused);
    check(
        Format::Misp,
        &format!(r#"{{"response": [{event}]}}"#),
        expected,
        &refused,
    );
    let found = r#"{"response": {"Attribute": [{"type": "ip-dst", "value": "192.0.2.1"}]}}"#;
    check(Format::Misp, found, &[("192.0.2.1", Some("192.0.2.1 50 "))], &[]);
}

#[test]
fn tables_of_misp() {
    let header = "uuid,event_id,category,type,value,comment,to_ids,date,object_relation,attribute_tag,object_uuid,\
                  object_name,object_meta_category\n";
    let row = |kind: &str, value: &str, comment: &str, to_ids: &str, tag: &str| {
        format!(
            "\"5f1b\",7,\"Network activity\",\"{kind}\",\"{value}\",\"{comment}\",{to_ids},1732406400,\"\",\"{tag}\",\"\",\"\",\"\"\n"
        )
    };
    let text = [
        header,
        &row("ip-dst", "192.0.2.1", "says \"\"hello\"\"", "1", "tlp:clear,c2"),
        &row("ip-dst|port", "192.0.2.2|443", "two\nlines, 192.0.2.9\n", "1", ""),
        &row("ip-src", "192.0.2.3", "", "0", ""),
        &row("domain", "example.org", "", "1", ""),
        &row("ip-src", "nowhere", "", "1", ""),
        &row("ip-src", "2001:db8::/32", "", "1", ""),
        "\n",
    ]
    .concat();
    let expected: &[(&str, Option<&str>)] = &[
        ("192.0.2.1", Some("192.0.2.1 50 tlp:clear,c2")),
        ("192.0.2.2", Some("192.0.2.2 50 ")),
        ("192.0.2.3", None),
        ("192.0.2.9", None),
        ("2001:db8::1", Some("2001:db8::/32 50 ")),
    ];
    for format in [Format::Misp, Format::Csv] {
        check(format, &text, expected, &[(Some(8), "\"nowhere\" is no address")]);
    }
}

#[test]
fn a_row_counts_whatever_its_kind_is_called() {
    check(
        Format::Csv,
        "type,value\nIPv4,192.0.2.1\nCIDR,192.0.2.128/25\nNetwork,198.51.100.0/24\nIP,nowhere\nhostname,example.org\nä,x\n",
        &[
            ("192.0.2.1", Some("192.0.2.1 50 ")),
            ("192.0.2.129", Some("192.0.2.128/25 50 ")),
            ("198.51.100.7", Some("198.51.100.0/24 50 ")),
        ],
        &[(Some(5), "\"nowhere\" is no address")],
    );
}

#[test]
fn pages_of_servers_without_a_name_and_what_ends() {
    let text = "# id,dateadded,url,url_status,threat,tags,valid_until\n\
        \"1\",\"2026-11-29 00:00:00\",\"http://192.0.2.1:8080/bin.sh\",\"online\",\"malware_download\",\"elf,mirai\",\"\"\n\
        \"2\",\"2026-11-29 00:00:00\",\"https://[2001:db8::1]/x\",\"online\",\"malware_download\",\"None\",\"9999-01-01T00:00:00Z\"\n\
        \"3\",\"2026-11-29 00:00:00\",\"https://example.org/192.0.2.2\",\"online\",\"malware_download\",\"\",\"\"\n\
        \"4\",\"2026-11-29 00:00:00\",\"http://192.0.2.3/\",\"online\",\"malware_download\",\"\",\"1970-01-01T00:00:00Z\"\n";
    check(
        Format::Csv,
        text,
        &[
            ("192.0.2.1", Some("192.0.2.1 50 malware_download,elf,mirai")),
            ("2001:db8::1", Some("2001:db8::1 50 malware_download")),
            ("192.0.2.2", None),
            ("192.0.2.3", None),
        ],
        &[],
    );
    check(
        Format::Plain,
        "http://192.0.2.1/x\n",
        &[("192.0.2.1", Some("192.0.2.1 50 "))],
        &[],
    );
}

#[test]
fn a_quotation_mark_without_another_costs_some_lines_and_no_more() {
    let rows: Vec<_> = (1..=20).map(|last| format!("192.0.2.{last},x")).collect();
    let rows = rows.join("\n");
    check(
        Format::Csv,
        &format!("192.0.2.100,\"x\n{rows}"),
        &[
            ("192.0.2.15", None),
            ("192.0.2.16", Some("192.0.2.16 50 ")),
            ("192.0.2.20", Some("192.0.2.20 50 ")),
        ],
        &[(Some(16), "a quotation mark has no other")],
    );
}

#[test]
fn indicators_of_kunai() {
    let text = "{\"uuid\": \"1\", \"source\": \"ours\", \"value\": \"192.0.2.1\", \"severity\": 10}\n\
        {\"uuid\": \"2\", \"source\": \"ours\", \"value\": \"example.org\", \"severity\": 10}\n\n\
        {\"type\": \"ip-dst\", \"value\": \"nowhere\"}\n{\"uuid\": \n";
    check(
        Format::Kunai,
        text,
        &[("192.0.2.1", Some("192.0.2.1 50 ours"))],
        &[(Some(4), "\"nowhere\" is no address"), (Some(5), "EOF")],
    );
}

#[test]
fn what_lists_no_address_is_no_feed() {
    for (format, text, reason) in [
        (Format::Plain, "", "lists no address"),
        (Format::Csv, "PK\u{3}\u{4}\u{14}", "it is packed (zip)"),
        (Format::Plain, "# nothing\n", "lists no address"),
        (Format::Plain, "<html>\n", "\"<html>\" is no address"),
        (Format::Stix, "{", "no bundle of STIX"),
        (Format::Misp, "[1]", "nothing of MISP's"),
        (
            Format::Warninglist,
            r#"{"type": "hostname", "list": ["a"]}"#,
            "which lists no addresses",
        ),
        // No feed silences another because of what it says itself.
        (
            Format::Auto,
            r#"{"type": "cidr", "list": ["192.0.2.1"]}"#,
            "nobody can tell its format",
        ),
    ] {
        let found = read_as(format, text).unwrap_err();
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn what_is_quoted_of_a_feed_cannot_paint_a_terminal() {
    let stix = "{\"objects\": [{\"type\": \"indicator\", \"pattern\": \"[ipv4-addr:value = '1\\u001b[2J']\"}]}";
    let warninglist = "{\"type\": \"\\u001b[2J\", \"list\": [\"192.0.2.1\"]}";
    for (format, text) in [
        (Format::Plain, "192.0.2.1\u{1b}[2J\n"),
        (Format::Csv, "dst_ip\n0.0.0.0/0\u{202e}\n"),
        (Format::Stix, stix),
        (Format::Warninglist, warninglist),
    ] {
        let found = read_as(format, text).unwrap_err();
        assert!(!found.contains(['\u{1b}', '\u{202e}']), "{found:?}");
    }
    let mut refused = Refused::default();
    refused.add(None, "a\nb\u{9b}31m");
    assert_eq!(refused.told[0].1, "a\\nb\\u{9b}31m");
}

#[test]
fn feeds_that_others_made() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = env::var_os("TOCSIN_CORPUS").map_or_else(beside, Into::into).join("ti");
    if !folder.is_dir() {
        return eprintln!("SKIPPED: no {}: set TOCSIN_CORPUS", folder.display());
    }
    for (file, format, count, ip) in [
        ("ipsum_head500.txt", Format::Auto, 493, "77.90.185.20"),
        ("ipsum_level5.txt", Format::Auto, 1413, "77.239.124.102"),
        ("stix21_indicator_c2_ip.json", Format::Auto, 1, "10.0.0.0"),
        (
            "misp_warninglist_cloudflare.json",
            Format::Warninglist,
            22,
            "103.21.244.1",
        ),
        (
            "misp_warninglist_googlebot.json",
            Format::Warninglist,
            65,
            "192.178.4.1",
        ),
        (
            "misp_warninglist_public-dns-v4.json",
            Format::Warninglist,
            62_745,
            "1.0.0.1",
        ),
        ("misp_warninglist_rfc1918.json", Format::Warninglist, 3, "10.255.0.1"),
    ] {
        let Contents { list, refused, .. } = read_as(format, &fs::read_to_string(folder.join(file)).unwrap()).unwrap();
        assert_eq!((list.len(), refused.count), (count, 0), "{file}: {refused:?}");
        assert!(say(&list, ip).is_some(), "{file}");
    }
}
