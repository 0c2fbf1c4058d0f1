//! The sections of policy, of the network and of the credential store, as an administrator gets them wrong.

use rig::Home;

use super::{assert_works, home_with, refusal, refusal_at, rig, set_mode};

const DIRECTORY: &str = "[ldap_server]\nname = ad\n[ldap_server ad]\nurl = ldaps://dc.example\nbase_dn = dc=x\n";

/// Each line that is said of `text`, without the path.
#[track_caller]
fn told(text: &str) -> Vec<String> {
    let home = home_with(text);
    set_mode(&home.ini(), 0o600);
    let place = home.ini().display().to_string();
    refusal(&home).iter().map(|line| line.replace(&place, "")).collect()
}

#[test]
fn a_wrong_value_of_each_option_of_policy_is_told_with_what_it_takes() {
    let whole = |name: &str| format!("{name}: expected a whole number, such as 5, 0 or -1");
    let decimal = |name: &str| format!("{name}: expected seconds with up to three decimals, such as 15 or 0.5");
    let cases: &[(&str, &str, String, &[&str])] = &[
        ("ignore_upn_suffix_for_rdp", "ignore", "ignore: expected true or false".into(), &["", "on", "1", "tru"]),
        ("authentication_cache", "reuse_limit", whole("reuse_limit"), &["", "many", "1.0", "1_0", "0x1", "--1", "-"]),
        (
            "authentication_cache",
            "soft_timeout",
            decimal("soft_timeout"),
            &["", "nan", "inf", "-1", "1e3", "15s", "1.0005", ".", "99999999999999999999"],
        ),
        ("authentication_cache", "hard_timeout", decimal("hard_timeout"), &["NaN", "Infinity", "-0.5", "1,5"]),
        ("connection_limit by=client_ip_gateway_user", "limit", whole("limit"), &["", "five", "5.0"]),
        (
            "connection_limit by=client_ip_gateway_user",
            "stale_after",
            "stale_after: expected seconds from 60 to 2592000, such as 60".into(),
            &["", "59", "2592001", "-1", "1.5"],
        ),
        ("authorize", "require_proof", "require_proof: expected yes or no".into(), &["", "true", "1"]),
        (
            "username_transform",
            "append_domain",
            "append_domain: expected a domain without @, such as corp.example".into(),
            &["", "@corp.example", "a@b"],
        ),
        ("question_1", "disable_echo", "disable_echo: expected yes or no".into(), &["", "true"]),
        ("https_proxy", "enabled", "enabled: expected yes or no".into(), &["", "false"]),
        ("https_proxy", "port", "port: expected a whole number from 1 to 65535".into(), &["", "0", "65536", "http"]),
        ("tls", "enabled", "enabled: expected yes or no".into(), &["true"]),
        (
            "tls",
            "ca_cert",
            "ca_cert: expected certificates (PEM), file:PATH or a path".into(),
            &["$[Corp]", "file:", "-----BEGIN PRIVATE KEY-----"],
        ),
        (
            "credential_store",
            "source",
            "source: expected files:DIR, credentials or env:PREFIX".into(),
            &["", "vault", "env:", "files:"],
        ),
    ];
    for (section, option, expected, values) in cases {
        for value in *values {
            let more = match *section {
                "question_1" => "prompt = p\nkey = k\n",
                "https_proxy" => "server = proxy.example\n",
                _ => "",
            };
            let text = format!("[{section}]\n{option} = {value}\n{more}");
            let value = value.trim();
            assert_eq!(told(&text), [format!(":2: [{section}] {expected}, found \"{value}\"")], "{text:?}");
        }
    }
}

#[test]
fn a_section_that_is_half_filled_is_a_mistake() {
    for (text, said) in [
        (
            "[whitelist source=user_list]\n",
            ":1: [whitelist source=user_list] name: is missing; expected some text, such as name = vips",
        ),
        (
            "[whitelist source=user_list]\nname = vips\n",
            ":2: [whitelist source=user_list] name: there is no section [user_list vips]; write it, or name another",
        ),
        (
            "[whitelist source=user_list]\nname = vipz\n[user_list vips]\nallow = no_user\n",
            ":2: [whitelist source=user_list] name: there is no section [user_list vipz]; write it, or name another; did \
             you mean vips?",
        ),
        (
            "[whitelist source=user_list]\nname = vips\n[user_list vips]\nexcept = alice\n",
            ":3: [user_list vips] allow: is missing; expected no_user or all_users, such as allow = no_user",
        ),
        (
            "[whitelist source=user_list]\nname = vips\n[user_list vips]\nallow = maybe\n",
            ":4: [user_list vips] allow: expected no_user or all_users, found \"maybe\"",
        ),
        (
            "[whitelist source=user_list]\nname = vips\n[user_list vips]\nallow = no_user\nexcept = a,,b\n",
            ":5: [user_list vips] except: expected names separated by commas, such as alice,bob, found \"a,,b\"",
        ),
        (
            "[whitelist source=ldap_server_group]\nallow = no_user\nexcept = admins\n",
            ":1: [whitelist source=ldap_server_group]: needs a directory; name one in [ldap_server], and describe it in \
             [ldap_server NAME]",
        ),
        (
            "[usermapping source=ldap_server]\nuser_attribute = mail\n",
            ":1: [usermapping source=ldap_server]: needs a directory; name one in [ldap_server], and describe it in \
             [ldap_server NAME]",
        ),
        (
            "[ldap_server]\nname = ad\n",
            ":2: [ldap_server] name: there is no section [ldap_server ad]; write it, or name another",
        ),
        ("[ldap_server]\n", ":1: [ldap_server] name: is missing; expected some text, such as name = corp"),
        (
            "[ldap_server ad]\nurl = ldaps://dc.example\n",
            ":1: [ldap_server ad] base_dn: is missing; expected some text, such as base_dn = dc=corp,dc=example",
        ),
        (
            "[username_transform]\n",
            ":1: [username_transform] append_domain: is missing; expected a domain without @, such as corp.example, such \
             as append_domain = corp.example",
        ),
        ("[question_1]\nprompt = p\n", ":1: [question_1] key: is missing; expected some text, such as key = ticket"),
        ("[question_1]\nprompt = p\nkey =\n", ":3: [question_1] key: expected some text, found \"\""),
        ("[question_2]\nprompt = p\nkey = k\n", ":1: [question_2]: is not asked, as there is no [question_1]"),
        (
            "[https_proxy]\nport = 3128\n",
            ":1: [https_proxy] server: is missing, so there is no proxy; expected its name, or enabled = no",
        ),
        (
            "[https_proxy]\nserver = p\nusername = a:b\npassword = c\n",
            ":3: [https_proxy] username: holds a colon, at which a proxy ends the name (RFC 7617)",
        ),
        (
            "[usermapping source=explicit]\nalice = a\nALICE = b\n",
            ":3: [usermapping source=explicit] ALICE: is there already in another spelling, at line 2",
        ),
        (
            "[logging]\nlevel = info\nlog_level = debug\n",
            ":3: [logging] log_level: contradicts level, at line 2; keep one of the two",
        ),
        (
            "[logging]\nlog_level = chatty\n",
            ":2: [logging] log_level: expected debug, info, warning, error or critical, found \"chatty\"",
        ),
        ("[user_list  x]\nallow = no_user\n", ":1: [user_list  x]: expected one space before the name"),
        (
            "[DEFAULT]\nzoe = z\n[auth]\n[usermapping source=explicit]\n",
            ":1: [DEFAULT]: there are no options for all sections: these would count in [auth], [usermapping \
             source=explicit] as well; write them where they belong",
        ),
    ] {
        let lines = told(text);
        assert!(lines.iter().any(|line| line == said), "{text:?}: {lines:?}");
    }
}

#[test]
fn a_directory_is_described_whole_and_safely() {
    for (more, said) in [
        ("bind_dn = cn=x\n", ":6: [ldap_server ad] bind_dn: goes with bind_password: name both or neither"),
        (
            "start_tls = yes\n",
            ":6: [ldap_server ad] start_tls: goes with ldap:// only; ldaps:// speaks TLS from the beginning",
        ),
        (
            "user_filter = (uid=alice)\n",
            ":6: [ldap_server ad] user_filter: expected an LDAP filter in parentheses with {user} in it, such as \
             (uid={user}), found \"(uid=alice)\"",
        ),
        ("timeout = 0\n", ":6: [ldap_server ad] timeout: expected seconds from 1 to 300, such as 30, found \"0\""),
        ("bind_passwd = CANARY\n", ":6: [ldap_server ad] bind_passwd: unknown option; did you mean bind_password?"),
        (
            "group_attribute = member of\n",
            ":6: [ldap_server ad] group_attribute: expected the name of an attribute, such as mail, found \"member of\"",
        ),
    ] {
        assert_eq!(told(&format!("{DIRECTORY}{more}")), [said], "{more}");
    }
    let plain = DIRECTORY.replace("ldaps", "ldap");
    assert_eq!(
        told(&plain),
        [":4: [ldap_server ad] url: passwords would cross the network for everybody to read, and answers could be \
          forged; expected ldaps://, or write start_tls = yes or allow_insecure_ldap = yes below"]
    );
    assert_works(&home_with(format!("{plain}start_tls = yes\n")));
    assert_works(&home_with(format!("{plain}allow_insecure_ldap = yes\n")));
}

#[test]
fn mistakes_in_many_sections_are_told_at_once() {
    let lines = told(
        "[whitelist source=user_list]\nname = a\n[authentication_cache]\nsoft_timeout = nan\n[question_2]\nprompt = p\n\
         [connection_limit by=client_ip_gateway_user]\nlimit = x\n[tls]\nca_crt = x\n[auth]\nprompt = $\n",
    );
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, [":2", ":4", ":5", ":5", ":8", ":10", ":12"], "{lines:?}");
}

#[test]
fn a_secret_of_these_sections_makes_the_file_private_and_is_not_repeated() {
    let secrets = [
        format!("{DIRECTORY}bind_dn = cn=x\nbind_password = CANARY\n"),
        "[https_proxy]\nserver = p\nusername = u\npassword = CANARY\n".to_owned(),
    ];
    for text in &secrets {
        let home = home_with(text);
        set_mode(&home.ini(), 0o644);
        let lines = refusal(&home);
        assert!(lines.len() == 1 && lines[0].contains("chmod") && !lines[0].contains("CANARY"), "{lines:?}");
    }
    let lines = told("[tls]\nclient_cert = -----BEGIN CANARY-----\n");
    assert!(
        lines[0].contains("expected a certificate and its private key") && !lines[0].contains("CANARY"),
        "{lines:?}"
    );
}

// -------------------------------------------------------------------------------------------------------- references

/// A home of this configuration, with the secret for it at `path`.
fn keeping(text: &str, path: &str, content: &str) -> Home {
    let home = home_with(text);
    home.keep(path, content);
    home
}

#[test]
fn a_dollar_stands_for_what_the_store_keeps() {
    for (source, path) in [
        ("", "credentials/totp.digits"),
        ("source = files:kept", "kept/totp.digits"),
        ("name = local\nsource = files:./kept", "kept/totp.digits"),
    ] {
        let text = format!("[totp]\ndigits = $\n[credential_store]\n{source}\n");
        assert_works(&keeping(&text, path, "8\n"));
        let wrong = refusal_at(&keeping(&text, path, "CANARY\n"), "totp", "digits");
        assert_eq!(wrong, "expected a whole number from 6 to 8, which what [credential_store] keeps is not");
        let dollar = refusal_at(&keeping(&text, path, "$\n"), "totp", "digits");
        assert_eq!(dollar, "expected a whole number from 6 to 8, which what [credential_store] keeps is not");
        let empty = keeping(&text, path, "\n");
        let place = empty.dir().join(path.trim_start_matches("./"));
        let said = refusal_at(&empty, "totp", "digits").replace("/./", "/");
        assert_eq!(said, format!("{}: is empty; expected the secret on one line", place.display()));
        let loose = keeping(&text, path, "8\n");
        set_mode(&loose.dir().join(path), 0o644);
        assert!(refusal_at(&loose, "totp", "digits").contains("chmod"));
        let missing = refusal_at(&home_with(&text), "totp", "digits");
        assert!(missing.ends_with("No such file or directory (os error 2)"), "{missing}");
    }
}

#[test]
fn a_dollar_without_a_store_or_a_name_stands_for_nothing() {
    let home = home_with("[totp]\nissuer = $\n");
    let said = "$ stands for what [credential_store] keeps, which is not there; write it, or $$ for a $";
    assert_eq!(refusal_at(&home, "totp", "issuer"), said);
    // A name from the file leads nowhere else.
    let home = keeping("[usermapping source=explicit]\n../../x = $\n[credential_store]\n", "x", "y");
    let said = "no file can have this name, so $ stands for nothing; write the value here";
    assert_eq!(refusal_at(&home, "usermapping source=explicit", "../../x"), said);
    let home = home_with("[credential_store]\nname = $\n");
    assert_eq!(refusal_at(&home, "credential_store", "name"), "cannot be kept in what it describes");
    // Where nothing is a reference, nothing is opened.
    assert_works(&home_with("[credential_store]\nsource = files:/nowhere\n[totp]\nissuer = $$\n"));
    assert_works(&home_with("[totp]\nissuer = $HOME\n"));
}

#[test]
fn a_secret_that_lies_elsewhere_is_read_when_it_is_needed_and_told_by_check() {
    let text = format!("{DIRECTORY}bind_dn = cn=x\nbind_password = $\n[credential_store]\n");
    let home = home_with(&text);
    let served = home.ask_raw(format!("{}\n", super::request(1, "alice", serde_json::json!({}))));
    assert_eq!(served.status, Some(0), "{served:?}");
    let checked = home.run(&["check"], "");
    assert_eq!(checked.status, Some(78));
    let place = format!("{}:7: [ldap_server ad] bind_password: ", home.ini().display());
    assert!(
        checked.stderr.starts_with(&place) && checked.stderr.contains("ldap_server ad.bind_password: "),
        "{checked:?}"
    );
    home.keep("credentials/ldap_server ad.bind_password", "$\n");
    home.run(&["check"], "").ok();
    // It is no reference itself, and may not be readable by others.
    set_mode(&home.dir().join("credentials/ldap_server ad.bind_password"), 0o640);
    home.run(&["check"], "").ok();
    set_mode(&home.dir().join("credentials/ldap_server ad.bind_password"), 0o644);
    assert!(home.run(&["check"], "").stderr.contains("chmod"));
}

#[test]
fn references_lead_into_the_environment_and_to_systemd() {
    let home = home_with("[totp]\nissuer = $\n[credential_store]\nsource = env:COUNTERSIGN\n");
    let said = "the environment variable COUNTERSIGN_TOTP_ISSUER is not set";
    assert_eq!(refusal_at(&home, "totp", "issuer"), said);
    let done = rig::finish(home.command(&["check"]).env("COUNTERSIGN_TOTP_ISSUER", "Corp"), b"");
    assert_eq!(done.status, Some(0), "{done:?}");
    let home = home_with("[totp]\nissuer = $\n[credential_store]\nsource = credentials\n");
    let said = "there is no $CREDENTIALS_DIRECTORY; set LoadCredential= in the systemd unit";
    assert_eq!(refusal_at(&home, "totp", "issuer"), said);
    home.keep("given/totp.issuer", "Corp");
    let done = rig::finish(home.command(&["check"]).env("CREDENTIALS_DIRECTORY", home.dir().join("given")), b"");
    assert_eq!(done.status, Some(0), "{done:?}");
}

#[test]
fn what_nobody_asks_for_is_a_warning() {
    let home = home_with("[user_list spare]\nallow = no_user\n[ldap_server old]\nurl = ldaps://h\nbase_dn = dc=x\n");
    let done = home.run(&["check"], "").ok();
    let ini = home.ini().display().to_string();
    let expected = format!(
        "warning: {ini}:1: [user_list spare]: nobody asks for this list\n\
         warning: {ini}:3: [ldap_server old]: nobody asks this directory\n{ini}: the rest is right\n"
    );
    assert!(done.stdout.starts_with(&expected), "{done:?}");
}

#[test]
fn what_is_for_everybody_or_for_nobody_is_told() {
    for option in ["protocols", "connections", "targets"] {
        let said = told(&format!("[step_up]\n{option} = !ssh,!rdp\n"));
        let expected = "expected what asks for a fresh proof, found !ssh; there is no word for what does not";
        assert_eq!(said, [format!(":2: [step_up] {option}: {expected}")]);
    }
    let everybody = "everybody is let in without a second factor";
    for (except, is_told) in [("", true), ("except = alice\n", false)] {
        let home = Home::init();
        home.append(&format!("[whitelist source=user_list]\nname = v\n[user_list v]\nallow = all_users\n{except}"));
        let checked = home.run(&["check"], "").ok();
        assert_eq!((checked.stdout + &checked.stderr).contains(everybody), is_told);
        home.run(&["serve"], "").ok();
        assert_eq!(home.log().contains(everybody), is_told);
    }
}
