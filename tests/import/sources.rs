//! Each source: what it holds is enrolled, verified, and what was used there stays used.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::rig::{Home, Phone, finish};
use super::{NOW, RFC, SECRET, enrolled, hides, home, hotp, is_there, login, phone, refused};

/// The secret in hexadecimal, as users.oath has it.
const HEX: &str = "48656c6c6f21deadbeef48656c6c6f21deadbeef";

/// What Google Authenticator exports of three accounts: alice, bob (SHA-256, 8 digits) and carol (HOTP, next counter 5).
const EXPORT: &str = "\
otpauth-migration://offline?data=CigKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEgdUOmFsaWNlGgFUIAEoATACCjAKIDEyMzQ1Njc4OTAxM\
jM0NTY3ODkwMTIzNDU2Nzg5MDEyEgNib2IaAVQgAigCMAIQARgCKE0%3D
otpauth-migration://offline?data=CioKFDA5ODc2NTQzMjEwOTg3NjU0MzIxEgdUOmNhcm9sGgFUIAEoATABOAUQARgCIAEoTQ%3D%3D
";

fn data(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn piccolo() -> serde_json::Value {
    serde_json::from_str(&data("piccolo.json")).unwrap()
}

#[test]
fn uris_of_both_kinds() {
    let home = home();
    let lines = format!(
        "otpauth://totp/T:alice?secret={SECRET}&issuer=T\notpauth://hotp/T:bob?secret={RFC}&issuer=T&counter=5\n"
    );
    home.keep("uris", &lines);
    let file = home.dir().join("uris");
    let done = home.run(&["import", "uri", "--user-from-label", file.to_str().unwrap()], "").ok();
    assert_eq!(done.stdout, "2 enrolled\n");
    assert_eq!(login(&home, "alice", &phone().code_at(NOW, 0)), "accept");
    assert_eq!(login(&home, "bob", hotp(4)), "authentication_failure/used_code");
    assert_eq!(login(&home, "bob", hotp(5)), "accept");
    assert_eq!(login(&home, "bob", hotp(5)), "authentication_failure/used_code");
}

#[test]
fn an_export_of_google_authenticator() {
    let home = home();
    let first = EXPORT.lines().next().unwrap();
    let done = home.run(&["import", "google-export", "--user-from-label"], first);
    assert_eq!(done.status, Some(65));
    assert!(done.stderr.starts_with("QR code 2 of 2 of the export is missing"), "{done:?}");
    assert!(enrolled(&home).is_empty());
    let done = home.run(&["import", "google-export", "--user-from-label"], EXPORT).ok();
    assert_eq!(done.stdout, "3 enrolled\n");
    assert_eq!(login(&home, "alice", &Phone::with_secret(RFC).code_at(NOW, 0)), "accept");
    let longer = Phone::with_secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA").with("SHA256", 8, 30);
    assert_eq!(login(&home, "bob", &longer.code_at(NOW, 0)), "accept");
    // 09876543210987654321 at the counters 4 and 5.
    let token = Phone::with_secret("GA4TQNZWGU2DGMRRGA4TQNZWGU2DGMRR");
    assert_eq!(login(&home, "carol", &token.code(4)), "authentication_failure/used_code");
    assert_eq!(login(&home, "carol", &token.code(5)), "accept");
}

#[test]
fn a_file_of_the_pam_module() {
    let home = home();
    let phone = phone();
    let step = phone.step(NOW);
    let text = format!(
        "{SECRET}\n\" RATE_LIMIT 3 30\n\" WINDOW_SIZE 17\n\" DISALLOW_REUSE {} {step}\n\" TOTP_AUTH\n39428152\n74438030\n",
        step - 1
    );
    let done = home.run(&["import", "google-authenticator", "--user", "alice"], &text).ok();
    assert_eq!(done.stdout.lines().count(), 2, "{done:?}");
    hides(&done, &[SECRET, "39428152"]);
    assert_eq!(login(&home, "alice", &phone.code_at(NOW, 0)), "authentication_failure/used_code");
    assert_eq!(login(&home, "alice", &phone.code_at(NOW, 1)), "accept");
    // Scratch codes are recovery codes.
    assert_eq!(home.run(&["recovery", "count", "alice"], "").ok().stdout, "2\n");
    assert_eq!(login(&home, "alice", "3942 8152"), "accept");
    assert!(login(&home, "alice", "39428152").starts_with("authentication_failure/"));
    assert_eq!(home.run(&["recovery", "count", "alice"], "").ok().stdout, "1\n");
}

#[test]
fn files_that_the_pam_module_s_own_program_makes() {
    if !is_there("google-authenticator", "libpam-google-authenticator") {
        return;
    }
    let home = home();
    for (user, kind) in [("alice", "-t"), ("bob", "-c")] {
        let path = home.dir().join(user);
        let mut make = Command::new("google-authenticator");
        make.args([kind, "-f", "-r", "3", "-R", "30", "-w", "3", "-q", "-Q", "NONE", "-s"]).arg(&path);
        if kind == "-t" {
            make.arg("-d");
        }
        assert_eq!(finish(&mut make, b"").status, Some(0), "{make:?}");
        let secret = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        let file = path.to_str().unwrap();
        let done = home.run(&["import", "google-authenticator", "--user", user, file], "").ok();
        hides(&done, &[&secret]);
        let phone = Phone::with_secret(&secret);
        let code = if kind == "-t" { phone.code_at(NOW, 0) } else { phone.code(1) };
        assert_eq!(login(&home, user, &code), "accept", "{user}");
        assert_eq!(home.run(&["recovery", "count", user], "").ok().stdout, "5\n");
    }
}

#[test]
fn users_oath_with_what_was_used_last() {
    let home = home();
    let phone = phone();
    let text = format!(
        "# pam_oath\nHOTP/T30\talice\t-\t{HEX}\nHOTP/T30/6 bob - {HEX} 0 {} 2026-01-01T12:00:15L\n\
         HOTP carol - 3132333435363738393031323334353637383930 5 254676 2026-01-01T12:00:15L\n\
         HOTP/E/6 dave - 3132333435363738393031323334353637383930 3\n",
        phone.code_at(NOW, 0)
    );
    let done = home.run(&["import", "users-oath"], &text).ok();
    assert_eq!(done.stdout, "4 enrolled\n");
    assert_eq!(login(&home, "alice", &phone.code_at(NOW, 0)), "accept");
    assert_eq!(login(&home, "bob", &phone.code_at(NOW, 0)), "authentication_failure/used_code");
    assert_eq!(login(&home, "bob", &phone.code_at(NOW, 1)), "accept");
    assert_eq!(login(&home, "carol", hotp(5)), "authentication_failure/used_code");
    assert_eq!(login(&home, "carol", hotp(6)), "accept");
    assert_eq!(login(&home, "dave", hotp(3)), "accept");
}

#[test]
fn home_assistant_with_a_list_of_names() {
    let home = home();
    let text = format!(
        r#"{{"version": 1, "minor_version": 1, "key": "auth_module.totp",
             "data": {{"users": {{"2f8a": "{SECRET}", "9c01": "{RFC}"}}}}}}"#
    );
    home.keep("names", "# by hand\n2f8a = Alice\n9c01 =\n");
    let names = home.dir().join("names");
    let done = home.run(&["import", "home-assistant", "--map", names.to_str().unwrap()], &text).ok();
    assert_eq!(done.stdout, "user 9c01: passed over: the list of names has nobody for \"9c01\"\n1 enrolled\n");
    assert_eq!(login(&home, "alice", &phone().code_at(NOW, 0)), "accept");
    home.keep("names", "2f8a = Alice\n");
    let done = home.run(&["import", "home-assistant", "--skip-existing", "--map", names.to_str().unwrap()], &text);
    assert_eq!(done.status, Some(65));
    assert!(done.stderr.contains("\"9c01\" is not in the list of names; add a line: 9c01 = NAME"), "{done:?}");
}

#[test]
fn piccolo_under_each_of_its_keys() {
    let vectors = piccolo();
    let opens = vectors["opens"].as_array().unwrap();
    for prefix in ["xchacha20-", "fernet-"] {
        let vector = opens
            .iter()
            .find(|v| v["plain"] == SECRET && v["stored"].as_str().unwrap().starts_with(prefix))
            .unwrap_or_else(|| panic!("{prefix}"));
        let hash = vectors["hashes"].as_array().unwrap().iter().find(|v| v["code"] == "aaaaaa-bbbbbb").unwrap();
        let home = home();
        home.keep("key", vector["key"].as_str().unwrap());
        let key = home.dir().join("key");
        let rows = serde_json::json!([
            {"id": 1, "user_id": 7, "username": "alice", "secret": vector["stored"], "recovery_codes": [hash["stored"]],
             "recovery_codes_used_at": [], "created_at": "2026-01-02T10:00:00+00:00", "revoked_at": null,
             "last_used_at": null, "last_used_code": phone().code_at(NOW, 0)},
            {"id": 2, "user_id": 8, "username": "bob", "secret": vector["stored"], "recovery_codes": [],
             "recovery_codes_used_at": [], "created_at": "2026-01-02T10:00:00+00:00", "revoked_at": "2026-01-03",
             "last_used_at": null, "last_used_code": null},
        ]);
        let done = home.run(&["import", "piccolo", "--key-file", key.to_str().unwrap()], rows.to_string()).ok();
        assert_eq!(done.stdout, "row 2: passed over: revoked\n2 enrolled\n");
        assert_eq!(enrolled(&home), ["alice authenticator", "alice recovery codes"]);
        assert_eq!(login(&home, "alice", &phone().code_at(NOW, 0)), "authentication_failure/used_code");
        assert_eq!(login(&home, "alice", &phone().code_at(NOW, 1)), "accept");
        assert_eq!(login(&home, "alice", "AAAAAA bbbbbb"), "accept");
        assert!(login(&home, "alice", "aaaaaa-bbbbbb").starts_with("authentication_failure/"));
    }
}

#[test]
fn a_table_of_piccolo_as_databases_write_csv() {
    let home = home();
    let hash = piccolo()["hashes"][1]["stored"].as_str().unwrap().to_owned();
    let text = format!(
        "id,user_id,secret,recovery_codes,created_at,revoked_at,last_used_code\n\
         1,alice,plain-{SECRET},\"{{{hash}}}\",2026-01-02 10:00:00+00,,\n"
    );
    home.run(&["import", "piccolo"], &text).ok();
    assert_eq!(login(&home, "alice", &phone().code_at(NOW, 0)), "accept");
    assert_eq!(home.run(&["recovery", "count", "alice"], "").ok().stdout, "1\n");
}

/// Imports a container with `key`, which may be empty.
fn import_container(home: &Home, name: &str, key: &str, more: &[&str]) -> super::Finished {
    home.keep("container.xml", &data(name));
    home.keep("container.key", key);
    let (file, key_file) = (home.dir().join("container.xml"), home.dir().join("container.key"));
    let mut arguments = vec!["import", "pskc", file.to_str().unwrap()];
    arguments.extend(more);
    if !key.is_empty() {
        arguments.extend(["--key-file", key_file.to_str().unwrap()]);
    }
    home.run(&arguments, "")
}

#[test]
fn containers_of_the_rfc_in_plain_text_and_sealed() {
    for (name, key) in [
        ("pskc/rfc6030-figure2.xml", ""),
        ("pskc/rfc6030-figure6.xml", "12345678901234567890123456789012\n"),
        ("pskc/rfc6030-figure7.xml", "qwerty\n"),
    ] {
        let home = home();
        let done = import_container(&home, name, key, &["--user", "alice"]).ok();
        assert!(done.stdout.starts_with("alice is enrolled with \"987654321\" ("), "{done:?}");
        // Eight digits of RFC 4226, appendix D: 1284755224.
        assert_eq!(login(&home, "alice", "84755224"), "accept", "{name}");
    }
    let home = home();
    import_container(&home, "pskc/rfc6030-figure2.xml", "", &["--user-from-label"]).ok();
    assert_eq!(enrolled(&home), ["jsmith 987654321"]);
}

#[test]
fn an_export_of_privacyidea_by_serial_numbers() {
    let home = home();
    let key = "00112233445566778899aabbccddeeff";
    home.keep("names", "OATH0001A2B3 = alice\nTOTP0002C4D5 = bob\nTOTP0003E6F7 =\n");
    let names = home.dir().join("names");
    let map = ["--map", names.to_str().unwrap()];
    let done = import_container(&home, "pskc/privacyidea.xml", key, &map).ok();
    assert!(done.stdout.ends_with("\n2 enrolled\n") && done.stdout.contains("key PW0004: passed over: "), "{done:?}");
    assert_eq!(enrolled(&home), ["alice OATH0001A2B3", "bob TOTP0002C4D5"]);
    assert_eq!(login(&home, "alice", hotp(2)), "authentication_failure/used_code");
    assert_eq!(login(&home, "alice", hotp(3)), "accept");
    let token = Phone::with_secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA").with("SHA256", 8, 60);
    assert_eq!(login(&home, "bob", &token.code_at(NOW, 0)), "accept");
    // Its used time steps are those that the other server counted.
    let done = import_container(&home, "pskc/privacyidea.xml", key, &["--user", "carol", "--skip-existing"]).ok();
    assert_eq!(done.stdout.lines().filter(|line| line.starts_with("carol is enrolled")).count(), 3, "{done:?}");
}

#[test]
fn an_account_of_google_authenticator_is_called_by_what_stands_behind_its_issuer() {
    let field = |tag: u8, content: &[u8]| [&[tag << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat();
    for (name, issuer) in [("ACME:alice", ""), ("ACME: alice", "Other"), ("ACME:alice", "ACME"), ("A:B:alice", "A:B")] {
        let home = home();
        let secret = b"12345678901234567890";
        let account = [field(1, secret), field(2, name.as_bytes()), field(3, issuer.as_bytes())].concat();
        let line = format!("otpauth-migration://offline?data={}", data_encoding::BASE64URL.encode(&field(1, &account)));
        home.run(&["import", "google-export", "--user-from-label"], line).ok();
        assert_eq!(enrolled(&home), ["alice authenticator"], "{name} {issuer}");
    }
}

#[test]
fn a_secret_in_plain_text_is_refused_where_a_key_vouches_for_the_others() {
    let home = home();
    home.keep("key", &"0".repeat(64));
    let key = home.dir().join("key");
    let row = format!("[{{\"username\": \"alice\", \"secret\": \"plain-{SECRET}\"}}]");
    let done = home.run(&["import", "piccolo", "--key-file", key.to_str().unwrap()], &row);
    assert!(
        refused(&done, &[SECRET]).starts_with("row 1: the secret is in plain text, and a key was given"),
        "{done:?}"
    );
    home.run(&["import", "piccolo"], &row).ok();
    let name = "pskc/rfc6030-figure2.xml";
    let done = import_container(&home, name, "12345678901234567890123456789012", &["--user", "bob"]);
    assert!(refused(&done, &[]).starts_with("key 987654321: the secret is in plain text"), "{done:?}");
    assert_eq!(enrolled(&home), ["alice authenticator"]);
}

#[test]
fn what_a_container_says_of_a_keys_use_is_not_dropped() {
    let home = home();
    let container = data("pskc/rfc6030-figure2.xml");
    let import = |text: &str| home.run(&["import", "pskc", "--user", "alice"], text);
    let policy = |text: &str| container.replace("</Data>", &format!("</Data><Policy>{text}</Policy>"));
    for (text, told) in [
        (policy("<ExpiryDate>2025-12-31T00:00:00Z</ExpiryDate>"), "key 987654321: it expired at 2025-12-31T00:00:00Z"),
        (
            policy("<StartDate>2026-12-31T00:00:00Z</StartDate>"),
            "key 987654321: its policy lets it be used from 2026-12",
        ),
        (policy("<PINPolicy PINUsageMode=\"Append\"/>"), "key 987654321: its <PINPolicy> wants a PIN"),
        (policy("<KeyUsage>CR</KeyUsage>"), "key 987654321: its <KeyUsage> is not OTP"),
        (
            container.replace("DECIMAL\"", "DECIMAL\" CheckDigits=\"true\""),
            "key 987654321: its codes end with a check digit",
        ),
        (
            container.replace("<PlainValue>0</PlainValue>", "<EncryptedValue/>"),
            "key 987654321: its <Counter> is encrypted",
        ),
        (container.replace("</KeyContainer>", "<KeyPackage/></KeyContainer>"), "package 2: there is no <Key> in it"),
    ] {
        let done = import(&text);
        assert!(refused(&done, &[]).starts_with(told), "{done:?}");
    }
    assert!(enrolled(&home).is_empty());
    import(&policy("<ExpiryDate>2026-12-31T00:00:00Z</ExpiryDate><KeyUsage>OTP</KeyUsage>")).ok();
}
