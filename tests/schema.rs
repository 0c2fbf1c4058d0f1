//! `check --schema` and `client schema`: what plugin.ini may hold, as data. A validator that is not ours holds
//! configurations to it, and `check` must never be content with less.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rig::services::Validator;
use rig::{Finished, Home, finish};
use serde_json::{Value, json};

// ------------------------------------------------------------------------------------------------------------ helpers

/// A command that needs no configuration.
fn run(arguments: &[&str]) -> Finished {
    finish(Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).env_clear(), b"")
}

fn example() -> String {
    run(&["example"]).ok().stdout
}

/// The schema of the whole file.
fn schema() -> Value {
    serde_json::from_str(&run(&["check", "--schema"]).ok().stdout).unwrap()
}

/// The example with every option of every section in force. What may stand in every remote section stands in one of its own.
fn example_in_force() -> String {
    let mark = "# In the section of every remote service there may also stand:";
    assert!(example().contains(mark));
    let text = example().replace(mark, "[http spare]\nurl = https://mfa.corp.example");
    let in_force = |line: &str| match line.split_at_checked(1) {
        Some(("#" | ";", rest)) if !rest.starts_with(' ') && !rest.is_empty() => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(in_force).flat_map(|line| [line, "\n".into()]).collect()
}

/// An option of the example: its section, its name, its default, and what stands above it.
struct Shown {
    section: String,
    name: String,
    default: String,
    comment: String,
}

fn options() -> Vec<Shown> {
    let (mut section, mut comment, mut options) = (String::new(), Vec::new(), Vec::new());
    for line in example_in_force().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push(text.to_owned());
        } else if let Some((name, default)) = line.split_once(" =") {
            let (section, name) = (section.clone(), name.to_owned());
            options.push(Shown { section, name, default: default.trim().to_owned(), comment: comment.join(" ") });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    assert!(options.len() > 120, "the options were not found");
    options
}

/// What the schema says of a section of the example.
fn section_in<'a>(schema: &'a Value, section: &str) -> &'a Value {
    if let Some(found) = schema["properties"].get(section) {
        return found;
    }
    let kind = section.split([' ', '_']).next().unwrap();
    let spaces = |text: &str| text.matches(' ').count();
    let many = schema["patternProperties"].as_object().unwrap();
    let fits = |pattern: &&String| pattern.starts_with(&format!("^{kind}")) && spaces(pattern) == spaces(section);
    let pattern = many.keys().find(fits).unwrap_or_else(|| panic!("[{section}] is not in the schema"));
    &many[pattern]
}

/// The places that `check` finds a mistake at, as `[section] option`.
fn refused_by_check(home: &Home, text: &str) -> BTreeSet<String> {
    fs::write(home.ini(), text).unwrap();
    let checked = home.run(&["check"], "");
    let start = format!("{}:", home.ini().display());
    let places = checked.stderr.lines().filter_map(|line| {
        let (_, behind) = line.strip_prefix(&start)?.split_once(": ")?;
        behind.split_once(": ").map(|(place, _)| place.to_owned())
    });
    places.collect()
}

/// The files of contrib that are whole configurations of a service.
fn contributed() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/http");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ini"));
    assert!(files.len() > 5, "contrib was not found");
    files.iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

// --------------------------------------------------------------------------------------------------------- the schema

#[test]
fn every_option_is_in_the_schema_with_its_meaning_and_its_default() {
    let schema = schema();
    let mut shown = BTreeSet::new();
    for Shown { section, name, default, comment } in options() {
        // Names of users, not of options.
        if section == "usermapping source=explicit" {
            continue;
        }
        let option = &section_in(&schema, &section)["properties"][&name];
        assert!(option.is_object(), "[{section}] {name} is not in the schema");
        let said = option["description"].as_str().unwrap();
        assert!(said.contains(" Takes "), "[{section}] {name}: {said}");
        if section != "http spare" || name != "url" {
            assert_eq!(said, comment, "[{section}] {name}");
        }
        let kinds = ["enum", "pattern", "minLength", "anyOf"];
        let is_free = option["type"] == "string" && option["default"] == "";
        assert!(is_free || kinds.iter().any(|kind| option.get(kind).is_some()), "[{section}] {name}: anything goes");
        let is_required =
            section_in(&schema, &section)["required"].as_array().is_some_and(|r| r.contains(&json!(name)));
        if is_required {
            assert!(option["examples"].is_array() && option.get("default").is_none(), "[{section}] {name}");
        } else {
            assert_eq!(option["default"], json!(default), "[{section}] {name}");
        }
        shown.insert(name);
    }
    // And the other way round: whatever the schema knows, the example shows.
    for group in ["properties", "patternProperties"] {
        for (section, said) in schema[group].as_object().unwrap() {
            for name in said["properties"].as_object().into_iter().flat_map(|options| options.keys()) {
                assert!(shown.contains(name) || name == "log_level", "[{section}] {name} is not in the example");
            }
        }
    }
}

#[test]
fn a_secret_is_marked_and_an_address_too() {
    let schema = schema();
    for (section, option, mark, expected) in [
        ("plugin", "master_key", "writeOnly", json!(true)),
        ("duo", "skey", "writeOnly", json!(true)),
        ("tls", "client_cert", "writeOnly", json!(true)),
        ("okta", "api_url", "format", json!("uri")),
        ("plugin", "deadline", "minimum", json!(1)),
        ("plugin", "deadline", "maximum", json!(3600)),
        ("plugin", "deadline", "type", json!(["integer", "string"])),
        ("auth", "disable_echo", "anyOf", schema["properties"]["duo"]["properties"]["allow_bypass"]["anyOf"].clone()),
        ("duo", "factor", "enum", json!(["push", "phone", "sms", "auto"])),
    ] {
        assert_eq!(schema["properties"][section]["properties"][option][mark], expected, "[{section}] {option}");
    }
    let written = schema.to_string().matches("\"writeOnly\":true").count();
    assert!(written >= 12, "{written} secrets");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn options_stand_in_the_order_of_their_declarations() {
    let text = run(&["client", "schema", "duo"]).ok().stdout;
    let place = |option: &str| text.find(&format!("\"{option}\": {{")).unwrap_or_else(|| panic!("no {option}"));
    let order = ["host", "ikey", "skey", "factor", "title", "ca_file", "timeout", "degraded_for"].map(place);
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn the_schema_of_a_client_is_its_part_of_the_whole() {
    let whole = schema();
    for (words, section) in [
        (&["totp"][..], "totp"),
        (&["privacyidea"], "privacyidea"),
        (&["oidc"], "oidc"),
        (&["recovery"], "recovery"),
        (&["http corp"], "http corp"),
        (&["http", "corp"], "http corp"),
        (&["http", "corp", "otp"], "http corp otp"),
    ] {
        let arguments = [&["client", "schema"], words].concat();
        let mut said: Value = serde_json::from_str(&run(&arguments).ok().stdout).unwrap();
        let head = said.as_object_mut().unwrap();
        assert_eq!(head.remove("title").unwrap(), json!(format!("[{section}] of plugin.ini")));
        assert_eq!(head.remove("$schema").unwrap(), whole["$schema"]);
        assert_eq!(&said, section_in(&whole, section));
    }
}

#[test]
fn a_client_that_nobody_knows_has_no_schema() {
    for (name, hint) in [("doo", "; did you mean duo?"), ("plugin", ""), ("http corp pot", ""), ("http", ""), ("", "")]
    {
        let done = run(&["client", "schema", name]);
        let expected = "expected totp, ";
        assert_eq!((done.status, done.stdout.as_str()), (Some(64), ""), "{name}: {done:?}");
        assert!(done.stderr.starts_with(&format!("no client \"{name}\"; {expected}")), "{done:?}");
        assert!(done.stderr.trim_end().ends_with(hint), "{done:?}");
    }
}

#[test]
fn the_schema_needs_no_configuration() {
    let done = run(&["check", "--schema", "--config", "/nowhere/plugin.ini"]).ok();
    assert_eq!(done.stdout, run(&["check", "--schema"]).ok().stdout);
    assert_eq!(run(&["check", "--schema", "--gateway", "sps"]).status, Some(64));
}

// ------------------------------------------------------------------------------------------------------ configurations

#[test]
fn what_is_right_is_right_by_the_schema() {
    let Some(validator) = Validator::install() else { return };
    let fixed = [
        "",
        "[plugin]\n",
        // As people write it.
        "[plugin]\nclients = duo,totp\ndeadline = 070\n[duo]\nhost = api-1.duosecurity.com\nikey = DI1\nskey = env:SKEY\n",
        "[auth]\ndisable_echo = Yes\ninteractive_protocols =\n[totp]\nalgorithm = sha-256\n[logging]\ndestination = SYSLOG\n",
        "[logging]\nlog_level = Critical\n",
        "[logging]\ndestination = file:/var/log/countersign\nformat = JSON\n",
        "[user_list a b]\nallow = No_User\nexcept = alice, Bob\n[whitelist source=user_list]\nname = a b\n",
        "[question_1]\nprompt = Ticket:\nkey = ticket\n[question_2]\nprompt = Why?\nkey = why\n",
        "[https-proxy]\nserver = 2001:db8::1\n[tls]\nca_cert = file:ca.pem\n",
        "[usermapping source=explicit]\nalice = a.smith\ncorp\\bob = b 100%\n",
        "[yubico_keys]\nalice = ccccccccccce, CCCCCCCCCCCD\n",
        "[authentication_cache]\nreuse_limit = -1\nsoft_timeout = 0.5\n",
        "[ignore_upn_suffix_for_rdp]\nignore = No\n",
    ];
    let mut files: Vec<(String, String)> = fixed.iter().map(|text| (format!("{text:?}"), (*text).to_owned())).collect();
    let home = Home::init();
    for (_, text) in &files {
        // Duo's secret lies nowhere; everything else is right.
        let told = refused_by_check(&home, text);
        assert!(told.is_empty() || told.iter().all(|place| place == "[duo] skey"), "{text}: {told:?}");
    }
    files.extend(contributed());
    files.push(("the example".into(), example()));
    files.push(("the example, its defaults written".into(), example().replace("\n;", "\n")));
    files.push(("the example, all of it written".into(), example_in_force()));
    let texts: Vec<Value> = files.iter().map(|(_, text)| json!(text)).collect();
    for ((name, _), wrong) in files.iter().zip(validator.judge(&schema(), &texts)) {
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

/// Mistakes that people make, one a file.
const MISTAKES: &[&str] = &[
    "[plugin]\ndeadline = 5m\n",
    "[plugin]\ndeadline = 0\n",
    "[plugin]\ndeadline = 3601\n",
    "[plugin]\ndeadline = 30 ; seconds\n",
    "[plugin]\nmaster_kye = file:x\n",
    "[plugin]\nmaster_key = CANARY\n",
    "[plugin]\nstore =\n",
    "[plugin]\nmax_in_flight = 65537\n",
    "[plugin]\nclients = topt\n",
    "[plugin]\nclients = totp,,duo\n",
    "[plugin]\nclients = http corp otp\n",
    "[Plugin]\ndeadline = 5\n",
    "[topt]\n",
    "[totp]\ndigits = 9\n",
    "[totp]\ndigits = 6.0\n",
    "[totp]\ndigits = +6\n",
    "[totp]\nperiod = 0\n",
    "[totp]\nalgorithm = MD5\n",
    "[totp]\nvalid_window = 11\n",
    "[totp]\nsecret_bytes = 15\n",
    "[totp]\nISSUER = x\n",
    "[auth]\ndisable_echo = maybe\n",
    "[auth]\ndisable_echo = true\n",
    "[auth]\nprompt =\n",
    "[auth]\ninteractive_protocols = ssh,,rdp\n",
    "[throttle]\nfailures = 0\n",
    "[throttle]\ntraces = 99\n",
    "[logging]\nlevel = chatty\n",
    "[logging]\nlog_level = chatty\n",
    "[logging]\ndestination = file:\n",
    "[logging]\nformat = xml\n",
    "[push]\nmode = on\n",
    "[push]\nby_protocol = ssh\n",
    "[push]\nblock = 604801\n",
    "[duo]\nhost = h\nikey = i\n",
    "[duo]\nhost = https://h/path\nikey = i\nskey = s\n",
    "[duo]\nhost = h\nikey = i\nskey = file:\n",
    "[duo]\nhost = h\nikey = i\nskey = s\nfactor = Push\n",
    "[duo]\nhost = h\nikey = i\nskey = s\nsignature = 3\n",
    "[duo]\nhost = h\nikey = i\nskey = s\nallow_bypas = yes\n",
    "[okta]\napi_url = corp.okta.com\napi_key = k\n",
    "[okta]\napi_url = https://corp.okta.com?x=y\napi_key = k\n",
    "[okta]\napi_url = https://corp.okta.com\napi_key = k\ndefault_prefix = pager\n",
    "[okta]\napi_url = https://corp.okta.com\napi_key = k\ntimeout = 301\n",
    "[okta]\napi_url = https://corp.okta.com\napi_key = k\non_unreachable = client:nobody\n",
    "[okta]\napi_url = https://corp.okta.com\napi_key = k\npin_sha256 = AAAA\n",
    "[yubico]\nclient_id = 0\napi_key = k\n",
    "[yubico]\nclient_id = 4294967296\napi_key = k\n",
    "[yubico_keys]\nalice = cccccccccccz\n",
    "[yubico_keys]\nalice = ccccccccccce,\n",
    "[oidc]\nissuer = https://login.corp.example\n",
    "[privacyidea]\nurl = https://mfa.corp.example\nflavour = other\n",
    "[http]\nurl = https://h\n",
    "[http a/b]\nurl = https://h\n",
    "[http corp pot]\nrequest = POST /x\n",
    "[http corp]\nurl = https://h\nauth = magic\n[http corp otp]\nrequest = POST /x\n",
    "[http corp]\nurl = https://h\n[http corp otp]\nrequest = HEAD /x\n",
    "[http corp]\nurl = https://h\n[http corp otp]\nrequest = POST /x?y\n",
    "[http corp]\nurl = https://h\n[http corp otp]\nrequest = POST /x\nsuccess = a\n",
    "[http corp]\nurl = https://h\n[http corp otp]\nrequest = POST /x\nform = user\n",
    "[http corp]\nurl = https://h\n[http corp otp]\nrequest = POST /x\njson = []\n",
    "[http corp]\nurl = https://h\n[http corp otp]\nrequest = POST /x\ncapture = a /a regex\n",
    "[http corp]\nurl = https://h\ncode = letters\n[http corp otp]\nrequest = POST /x\n",
    "[whitelist source=user_list]\n",
    "[whitelist source=users]\nname = x\n",
    "[user_list vips]\nallow = maybe\n",
    "[user_list vips]\nallow = no_user\nexcept = a,,b\n",
    "[user_list  vips]\nallow = no_user\n",
    "[ldap_server ad]\nurl = https://dc.example\nbase_dn = dc=x\n",
    "[ldap_server ad]\nurl = ldaps://dc.example/dc=x\nbase_dn = dc=x\n",
    "[ldap_server ad]\nurl = ldaps://dc.example\nbase_dn = dc=x\nuser_filter = uid=x\n",
    "[ldap_server ad]\nurl = ldaps://dc.example\nbase_dn = dc=x\nuser_filter = (uid=alice)\n",
    "[ldap_server ad]\nurl = ldaps://dc.example\nbase_dn = dc=x\ngroup_attribute = member of\n",
    "[ldap_server ad]\nurl = ldaps://dc.example\nbase_dn = dc=x\ntimeout = 0\n",
    "[authentication_cache]\nreuse_limit = many\n",
    "[authentication_cache]\nreuse_limit = 1.0\n",
    "[authentication_cache]\nsoft_timeout = nan\n",
    "[authentication_cache]\nsoft_timeout = 1.0005\n",
    "[authentication_cache]\nhard_timeout = 1e3\n",
    "[usermapping source=explicit]\nalice =\n",
    "[usermapping source=ldap_server]\n",
    "[username_transform]\nappend_domain = @corp.example\n",
    "[question_1]\nprompt = p\n",
    "[question_0]\nprompt = p\nkey = k\n",
    "[question_x]\nprompt = p\nkey = k\n",
    "[connection_limit by=client_ip_gateway_user]\nlimit = five\n",
    "[connection_limit by=client_ip_gateway_user]\nstale_after = 59\n",
    "[connection_limit]\nlimit = 5\n",
    "[authorize]\nrequire_proof = 1\n",
    "[https_proxy]\nserver = http://proxy\n",
    "[https_proxy]\nserver = proxy:3128\n",
    "[https_proxy]\nserver = proxy\nport = 65536\n",
    "[https-proxy]\nserver = proxy\nports = 1\n",
    "[tls]\nca_cert = $[Corp]\n",
    "[tls]\nca_cert = -----BEGIN PRIVATE KEY-----\n",
    "[tls]\nclient_cert = -----BEGIN CANARY-----\n",
    "[credential_store]\nsource = vault\n",
    "[credential_store]\nsource = env:A-B\n",
    "[ignore_upn_suffix_for_rdp]\nignore = on\n",
    "[policy]\nunenrolled = deny\n",
    "[policy]\nenforce = maybe\n",
    "[hotp]\nlook_ahead = 101\n",
    "[recovery]\nalphabet = 012345678\n",
    "[recovery]\nalphabet = 01234567899\n",
    "[recovery]\nseparator = +\n",
    "[recovery]\nlength = 9\n",
];

#[test]
fn a_mistake_is_one_by_the_schema_and_by_check() {
    let Some(validator) = Validator::install() else { return };
    let files: Vec<Value> = MISTAKES.iter().map(|text| json!(text)).collect();
    let judged = validator.judge(&schema(), &files);
    let home = Home::init();
    for (text, wrong) in MISTAKES.iter().zip(judged) {
        assert!(!wrong.is_empty(), "the schema takes {text:?}");
        fs::write(home.ini(), text).unwrap();
        let checked = home.run(&["check"], "");
        assert_eq!((checked.status, checked.stdout.as_str()), (Some(78), ""), "{text:?}: {checked:?}");
    }
}

/// Texts that some option takes and others do not, however odd: those of the file, and what no line can show.
fn texts() -> Vec<String> {
    let lines = include_str!("schema/texts.txt").lines().chain(["", "x\u{202e}y"]);
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn what_the_schema_refuses_check_refuses_whatever_it_is() {
    let Some(validator) = Validator::install() else { return };
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for Shown { section, name, .. } in options() {
        match sections.last_mut() {
            Some((last, names)) if *last == section => names.push(name),
            _ => sections.push((section, vec![name])),
        }
    }
    sections.push(("yubico_keys".into(), vec!["alice".into()]));
    let file = |value: &str| -> String {
        let section = |(section, names): &(String, Vec<String>)| {
            let lines: String = names.iter().map(|name| format!("{name} = {value}\n")).collect();
            format!("[{section}]\n{lines}")
        };
        sections.iter().map(section).collect()
    };
    let texts = texts();
    let files: Vec<Value> = texts.iter().map(|text| json!(file(text))).collect();
    let home = Home::init();
    let (mut refused, mut unsound) = (0, Vec::new());
    for (text, wrong) in texts.iter().zip(validator.judge(&schema(), &files)) {
        let checked = refused_by_check(&home, &file(text));
        refused += wrong.len();
        let place = |line: &str| line.split_once(": ").unwrap().0.to_owned();
        unsound.extend(wrong.into_iter().filter(|line| !checked.contains(&place(line))));
    }
    assert!(unsound.is_empty(), "check takes what the schema does not: {unsound:#?}");
    assert!(refused > 10_000, "only {refused} were refused");
}

#[test]
fn numbers_end_where_they_say() {
    let Some(validator) = Validator::install() else { return };
    let schema = schema();
    let (mut files, mut expected) = (Vec::new(), Vec::new());
    for group in ["properties", "patternProperties"] {
        for (section, said) in schema[group].as_object().unwrap() {
            for (name, option) in said["properties"].as_object().into_iter().flatten() {
                let (Some(least), Some(most)) = (option["minimum"].as_u64(), option["maximum"].as_u64()) else {
                    continue;
                };
                // One that the patterns of names take.
                let section = match section.as_str() {
                    many if many.starts_with("^http") => "http corp".to_owned(),
                    many if many.starts_with('^') => {
                        format!("{}corp", many.trim_start_matches('^').split_inclusive(' ').next().unwrap())
                    }
                    name => name.to_owned(),
                };
                for number in [Some(least), Some(most), most.checked_add(1), least.checked_sub(1), Some(most / 2)] {
                    let Some(number) = number else { continue };
                    for value in [json!(number), json!(number.to_string()), json!(format!("00{number}"))] {
                        files.push(json!({ &section: { name: value } }));
                        expected.push((least..=most).contains(&number));
                    }
                }
                files.push(json!({ &section: { name: true } }));
                files.push(json!({ &section: { name: 1.5 } }));
                expected.extend([false, false]);
            }
        }
    }
    assert!(files.len() > 300, "the numbers were not found");
    for ((file, expected), wrong) in files.iter().zip(expected).zip(validator.judge(&schema, &files)) {
        // What else the section needs is missing.
        let wrong: Vec<_> = wrong.iter().filter(|line| !line.contains("is a required property")).collect();
        assert_eq!(wrong.is_empty(), expected, "{file}: {wrong:?}");
    }
}
