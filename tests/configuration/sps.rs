//! plugin.ini as the plugins of SPS read theirs: what they pass over in silence is a warning, what they end at is refused
//! at the start.

use std::fs;

use rig::Home;
use serde_json::json;

use super::{home_with, refusal, request, rig, set_mode};

/// What becomes of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Right,
    Refused,
}
use Fate::{Refused, Right};

/// Configurations of SPS plugins, with the lists and directories that lie elsewhere there; and what is said of each.
const CONFIGURATIONS: [(&str, Fate, &[&str]); 73] = [
    ("", Right, &[]),
    ("[auth]\ninteractive_protocols=ssh\n", Right, &[]),
    ("[auth]\ninteractive_protocols= SSH , VNC\n", Right, &[]),
    ("[auth]\ninteractive_protocols=\n", Right, &[]),
    ("[auth]\nprompt=Enter code:\n", Right, &[]),
    ("[auth]\nprompt=Line one\n line two:\n", Right, &[]),
    ("[auth]\nprompt=100% sure? code:\n", Right, &[]),
    ("[auth]\nprompt=100%% sure? code:\n", Right, &[]),
    ("[auth]\nprompt=a ; b # c\n", Right, &[]),
    ("[auth]\ndisable_echo=yes\n", Right, &[]),
    ("[auth]\ndisable_echo=YES\n", Right, &[]),
    ("[auth]\ndisable_echo=No\n", Right, &[]),
    ("[auth]\ndisable_echo=true\n", Refused, &[":2: [auth] disable_echo: expected yes or no, found \"true\""]),
    ("[auth]\ndisable_echo=on\n", Refused, &[":2: [auth] disable_echo: expected yes or no, found \"on\""]),
    (
        "[auth]\ndisable_echo=yes ; hide\n",
        Refused,
        &[":2: [auth] disable_echo: expected yes or no, found \"yes ; hide\""],
    ),
    ("[acme]\nignore_connection_error=no\n", Right, &[":1: [acme]: unknown section"]),
    ("[acme]\nignore_connection_error=yes\n", Right, &[":1: [acme]: unknown section"]),
    (
        "[usermapping source=explicit]\nalice=alice.smith\nbob=id with spaces\ncorp\\carol=c1\ndan=\n",
        Right,
        &[
            ":5: [usermapping source=explicit] dan: is empty, so this name is not mapped; write the name at the MFA service, or remove the line",
        ],
    ),
    (
        "[DEFAULT]\nzoe=from-default\n[usermapping source=explicit]\nalice=alice.smith\nbob=id with spaces\ncorp\\carol=c1\ndan=\n\n",
        Refused,
        &[
            ":1: [DEFAULT]: there are no options for all sections: these would count in [usermapping source=explicit] as well; write them where they belong",
        ],
    ),
    ("[usermapping source=explicit]\nalice=50%off\n", Right, &[]),
    ("[username_transform]\nappend_domain=foobar.com\n", Right, &[]),
    (
        "[username_transform]\nappend_domain=@foobar.com\n",
        Right,
        &[":2: [username_transform] append_domain: names will end in \"@@foobar.com\""],
    ),
    (
        "[ldap_server]\nname=ad\n[usermapping source=ldap_server]\nuser_attribute=mail\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=ad\n[usermapping source=ldap_server]\nuser_attribute=multi\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=ad\n[usermapping source=ldap_server]\nuser_attribute=empty\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=ad\n[usermapping source=ldap_server]\nuser_attribute=nosuch\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=ad\n[usermapping source=ldap_server]\nuser_attribute=MAIL\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=gone\n[usermapping source=ldap_server]\nuser_attribute=mail\n[ldap_server gone]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[usermapping source=ldap_server]\nuser_attribute=mail\n",
        Refused,
        &[
            ":1: [usermapping source=ldap_server]: needs a directory; name one in [ldap_server], and describe it in [ldap_server NAME]",
        ],
    ),
    (
        "[usermapping source=explicit]\nalice=alice.smith\nbob=id with spaces\ncorp\\carol=c1\ndan=\n[ldap_server]\nname=ad\n[usermapping source=ldap_server]\nuser_attribute=mail\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[
            ":5: [usermapping source=explicit] dan: is empty, so this name is not mapped; write the name at the MFA service, or remove the line",
        ],
    ),
    ("[whitelist source=user_list]\nname=vips\n[user_list vips]\nallow=no_user\nexcept=alice\n", Right, &[]),
    (
        "[whitelist source=user_list]\nname=\n",
        Refused,
        &[":2: [whitelist source=user_list] name: expected some text, found \"\""],
    ),
    (
        "[ldap_server]\nname=ad\n[whitelist source=ldap_server_group]\nallow=all_users\nexcept=admins, dba\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=gone\n[whitelist source=ldap_server_group]\nallow=all_users\nexcept=admins, dba\n[ldap_server gone]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Right,
        &[],
    ),
    (
        "[ldap_server]\nname=ad\n[whitelist source=ldap_server_group]\nallow=everybody\nexcept=admins, dba\n[ldap_server ad]\nurl=ldaps://ldap.example\nbase_dn=dc=x\n",
        Refused,
        &[":4: [whitelist source=ldap_server_group] allow: expected no_user or all_users, found \"everybody\""],
    ),
    ("[authentication_cache]\nreuse_limit=2\nsoft_timeout=15\nhard_timeout=90\n", Right, &[]),
    ("[authentication_cache]\nreuse_limit=-1\nsoft_timeout=1000\nhard_timeout=90\n", Right, &[]),
    (
        "[authentication_cache]\nreuse_limit=2\nsoft_timeout=15\nhard_timeout=90\n[acme]\nignore_connection_error=yes\n",
        Right,
        &[":5: [acme]: unknown section"],
    ),
    (
        "[authentication_cache]\nreuse_limit=2\nsoft_timeout=15\nhard_timeout=90\n[whitelist source=user_list]\nname=vips\n[user_list vips]\nallow=no_user\nexcept=alice\n",
        Right,
        &[],
    ),
    (
        "[authentication_cache]\nreuse_limit=2\nsoft_timeout=15\nhard_timeout=90\ncache_dir=elsewhere\n",
        Right,
        &[":5: [authentication_cache] cache_dir: is not used: what is cached lies in the store ([plugin] store)"],
    ),
    (
        "[authentication_cache]\n\nreuse_limit=many\n",
        Refused,
        &[":3: [authentication_cache] reuse_limit: expected a whole number, such as 5, 0 or -1, found \"many\""],
    ),
    (
        "[authentication_cache]\nreuse_limit=1\nhard_timeout=\n",
        Refused,
        &[
            ":3: [authentication_cache] hard_timeout: expected seconds with up to three decimals, such as 15 or 0.5, found \"\"",
        ],
    ),
    (
        "[authentication_cache]\nreuse_limit=2\nsoft_timeout=15\nhard_timeout=90\n[question_1]\nprompt=Ticket:\nkey=ticket\n",
        Right,
        &[],
    ),
    ("[question_1]\nprompt=Ticket:\nkey=ticket\n[question_2]\nprompt=Why?\nkey=why\ndisable_echo=no\n", Right, &[]),
    ("[question_1]\nprompt=Ticket:\n", Right, &[":1: [question_1] key: is missing, so this section does nothing"]),
    ("[connection_limit by=client_ip_gateway_user]\nlimit=1\n", Right, &[]),
    ("[connection_limit by=client_ip_gateway_user]\nlimit=0\n", Right, &[]),
    ("[connection_limit by=client_ip_gateway_user]\nlimit=-1\n", Right, &[]),
    ("prompt=x\n", Refused, &[":1: prompt: stands before the first section; put it below one such as [plugin]"]),
    ("[auth]\nprompt=a\nprompt=b\n", Refused, &[":3: [auth] prompt: the option is there already, at line 2"]),
    ("[auth]\nprompt=a\n[auth]\ndisable_echo=yes\n", Refused, &[":3: [auth]: the section is there already, at line 1"]),
    ("[nonsense]\na=b\n", Right, &[":1: [nonsense]: unknown section"]),
    ("[auth]\ndisable_ech=yes\n", Right, &[":2: [auth] disable_ech: unknown option; did you mean disable_echo?"]),
    ("[auth]\nDISABLE_ECHO=yes\n", Right, &[]),
    ("[AUTH]\ndisable_echo=yes\n", Right, &[":1: [AUTH]: unknown section; did you mean [auth]?"]),
    ("[auth]\ndisable_echo: yes\n", Right, &[]),
    (
        "\u{feff}[auth]\ndisable_echo=yes\n",
        Refused,
        &[":1: the file begins with a byte-order mark; save it as UTF-8 without one"],
    ),
    ("# c\n[auth]\n; x\ndisable_echo=yes\n", Right, &[]),
    (
        "[logging]\nlog_level=chatty\n",
        Refused,
        &[":2: [logging] log_level: expected debug, info, warning, error or critical, found \"chatty\""],
    ),
    ("[logging]\nlog_level=DEBUG\n", Right, &[]),
    (
        "[logging]\nlog_level=10\n",
        Refused,
        &[":2: [logging] log_level: expected debug, info, warning, error or critical, found \"10\""],
    ),
    ("[acme]\ntoken=$\n[credential_store]\nname=local\n", Right, &[":1: [acme]: unknown section"]),
    ("[acme]\ntoken=$abc\n", Right, &[":1: [acme]: unknown section"]),
    (
        "[acme]\ntoken=$\n",
        Refused,
        &[":2: [acme] token: $ stands for what [credential_store] keeps, which is not there; write it, or $$ for a $"],
    ),
    ("[acme]\ntoken=\n", Right, &[":1: [acme]: unknown section"]),
    ("[acme]\ntoken=pa%ss\n", Right, &[":1: [acme]: unknown section"]),
    ("[auth]\nprompt=$\n[credential_store]\nname=local\n", Right, &[]),
    ("[https_proxy]\nserver=p.example\nport=8080\n", Right, &[]),
    ("[https-proxy]\nserver=p.example\nport=8080\n", Right, &[]),
    ("[https-proxy]\nserver=p.example\nusername=u\npassword=p@ss:/w\n", Right, &[]),
    (
        "[https-proxy]\nserver=p.example\nusername=u\n",
        Right,
        &[":3: [https-proxy] username: goes with password: name both or neither"],
    ),
    ("[https_proxy]\nenabled=false\n", Refused, &[":2: [https_proxy] enabled: expected yes or no, found \"false\""]),
    ("[https-proxy]\nserver=p\nusername=u\npassword=TOPSECRET\n[logging]\nlog_level=debug\n", Right, &[]),
];

/// What `check --gateway sps` says: the warnings, or the mistakes, without the path.
#[track_caller]
fn checked(home: &Home) -> (Fate, Vec<String>) {
    let done = home.run(&["check", "--gateway", "sps"], "");
    let place = home.ini().display().to_string();
    let lines = |text: &str, mark: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark)?.strip_prefix(&place));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    match done.status {
        Some(0) => {
            let warnings = lines(&done.stdout, "warning: ");
            let rest = if warnings.is_empty() { "right" } else { "the rest is right" };
            assert!(done.stdout.contains(&format!("{place}: {rest}\n")), "{done:?}");
            (Right, warnings)
        }
        Some(78) => {
            assert_eq!(done.stdout, "");
            (Refused, lines(&done.stderr, ""))
        }
        _ => panic!("{done:?}"),
    }
}

fn sps_home(text: &str) -> Home {
    let home = home_with(text);
    set_mode(&home.ini(), 0o600);
    home.keep("credentials/auth.prompt", "From store:\n");
    home
}

#[test]
fn each_configuration_of_an_sps_plugin_is_read_as_its_plugin_reads_it() {
    let home = sps_home("");
    for (text, fate, said) in CONFIGURATIONS {
        fs::write(home.ini(), text).unwrap();
        let (found, lines) = checked(&home);
        assert_eq!((found, lines), (fate, said.iter().map(|line| (*line).to_owned()).collect()), "{text:?}");
    }
}

/// What is passed over there is a mistake of ours: by our rules first, then by those of SPS.
#[test]
fn what_an_sps_plugin_passes_over_is_a_warning_there_and_a_mistake_here() {
    let both = |text: &str, said: &[&str]| {
        let home = sps_home(text);
        let place = home.ini().display().to_string();
        let said: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
        let native: Vec<String> = refusal(&home).iter().map(|line| line.replace(&place, "")).collect();
        assert_eq!(native, said, "{text:?}");
        assert_eq!(checked(&home), (Right, said), "{text:?}");
    };
    both("[acme]\ntoken = abc\n", &[":1: [acme]: unknown section"]);
    both("[AUTH]\nprompt = x\n", &[":1: [AUTH]: unknown section; did you mean [auth]?"]);
    both("[auth]\npromt = x\n", &[":2: [auth] promt: unknown option; did you mean prompt?"]);
    both(
        "[usermapping source=explicit]\ndan =\n",
        &[":2: [usermapping source=explicit] dan: is empty, so this name is not mapped; write the name at the MFA \
           service, or remove the line"],
    );
    both(
        "[question_1]\nprompt = a\nkey = a\n[question_3]\nprompt = c\nkey = c\n",
        &[":4: [question_3]: is not asked, as there is no [question_2]"],
    );
    both("[question_01]\nprompt = a\nkey = a\n", &[":1: [question_01]: unknown section; did you mean [question_N]?"]);
    both(
        "[question_1]\nprompt = a\nkey = a\n[question_2]\nprompt = b\nkey = a\n",
        &[":6: [question_2] key: is the key of [question_1] already, so this question is not asked"],
    );
    both(
        "[https-proxy]\nserver = a.example\n[https_proxy]\nserver = b.example\n",
        &[":1: [https-proxy]: differs from [https_proxy], at line 3; keep one"],
    );
    both(
        "[https_proxy]\nserver = a.example\nusername = u\n",
        &[":3: [https_proxy] username: goes with password: name both or neither"],
    );
    both(
        "[https_proxy]\nport = 80\n",
        &[":1: [https_proxy] server: is missing, so there is no proxy; expected its name, or enabled = no"],
    );
}

/// Values that only one of the two readings takes.
#[test]
fn each_reading_has_its_own_words() {
    for (text, native, sps) in [
        (
            "[ignore_upn_suffix_for_rdp]\nignore = maybe\n",
            ":2: [ignore_upn_suffix_for_rdp] ignore: expected true or false, found \"maybe\"",
            ":2: [ignore_upn_suffix_for_rdp] ignore: only true means true here, so \"maybe\" means false",
        ),
        (
            "[username_transform]\nappend_domain = @x.example\n",
            ":2: [username_transform] append_domain: expected a domain without @, such as corp.example, found \
             \"@x.example\"",
            ":2: [username_transform] append_domain: names will end in \"@@x.example\"",
        ),
        (
            "[username_transform]\nappend_domain =\n",
            ":2: [username_transform] append_domain: expected a domain without @, such as corp.example, found \"\"",
            ":2: [username_transform] append_domain: is empty, so nothing is put behind names",
        ),
        (
            "[auth]\nprompt =\n",
            ":2: [auth] prompt: expected some text, found \"\"",
            ":2: [auth] prompt: is empty: a question without words",
        ),
        (
            "[auth]\ninteractive_protocols = ssh,,rdp,\n",
            ":2: [auth] interactive_protocols: expected names separated by commas, such as ssh,rdp, found \"ssh,,rdp,\"",
            ":2: [auth] interactive_protocols: has a comma too many; what is empty between two is passed over",
        ),
        (
            "[authentication_cache]\ncache_dir = x\n",
            ":2: [authentication_cache] cache_dir: unknown option",
            ":2: [authentication_cache] cache_dir: is not used: what is cached lies in the store ([plugin] store)",
        ),
        (
            "[question_1]\nprompt = a\n",
            ":1: [question_1] key: is missing; expected some text, such as key = ticket",
            ":1: [question_1] key: is missing, so this section does nothing",
        ),
        (
            "[auth]\nprompt = %(user)s: 100%\n[zz]\n  a = b\n",
            ":4: begins with white space; a value stands on one line, and options and sections begin at its start",
            ":2: [auth] prompt: what stands in %( ) is taken as it is written: nothing is put in for it",
        ),
    ] {
        let home = sps_home(text);
        let place = home.ini().display().to_string();
        let refused = refusal(&home);
        assert!(refused.iter().any(|line| line.replace(&place, "") == native), "{text:?}: {refused:?}");
        let (fate, warnings) = checked(&home);
        assert_eq!(fate, Right, "{warnings:?}");
        assert!(warnings.iter().any(|line| line == sps), "{text:?}: {warnings:?}");
    }
}

/// A section that only names itself, as in the files that come with the plugins, says nothing.
#[test]
fn a_section_without_options_is_off() {
    let text = "[whitelist source=user_list]\n; name=<list>\n[whitelist source=ldap_server_group]\n[ldap_server]\n\
                [usermapping source=ldap_server]\n[username_transform]\n[question_1]\n[question_2]\n[https_proxy]\n\
                [connection_limit by=client_ip_gateway_user]\n[authentication_cache]\n[credential_store]\n[tls]\n";
    let home = sps_home(text);
    assert_eq!(checked(&home), (Right, Vec::new()));
    let native = refusal(&home).join("\n");
    for section in ["whitelist source=user_list", "ldap_server", "username_transform", "question_1", "question_2"] {
        assert!(native.contains(&format!("[{section}]")), "{section}: {native}");
    }
}

/// What is ours alone is read the same.
#[test]
fn sections_of_ours_are_read_strictly_whoever_asks() {
    for (text, said) in [
        ("[plugin]\ndeadlin = 5\n", ":2: [plugin] deadlin: unknown option; did you mean deadline?"),
        ("[totp]\ndigits = 9\n", ":2: [totp] digits: expected a whole number from 6 to 8, found \"9\""),
        (
            "[user_list x]\nallow = no_user\nexcepd = a\n",
            ":3: [user_list x] excepd: unknown option; did you mean except?",
        ),
        (
            "[duo]\nikey = DI\nskey = file:x\nhostt = h\n",
            ":1: [duo] host: is missing; expected a host name such as api-XXXXXXXX.duosecurity.com, such as host = api-XXXXXXXX.duosecurity.com",
        ),
    ] {
        let (fate, lines) = checked(&sps_home(text));
        assert_eq!((fate, lines), (Refused, vec![said.to_owned()]), "{text:?}");
    }
    let duo = "[duo]\nikey = DI\nskey = file:duo.skey\nhost = h.example\nurl_scheme = x\n";
    let home = sps_home(duo);
    home.keep("duo.skey", "secret\n");
    assert_eq!(checked(&home), (Right, vec![":5: [duo] url_scheme: unknown option".to_owned()]));
}

/// The values themselves, as they reach whoever is asked.
#[test]
fn the_question_is_what_python_would_read() {
    let asked = |text: &str| {
        let home = sps_home(text);
        let call = json!({"hook": "authenticate", "arguments": {"cookie": {}, "session_cookie": {}, "session_id": "s",
            "protocol": "ssh", "connection_name": "c", "client_ip": "192.0.2.7", "client_port": 1,
            "client_hostname": null, "gateway_user": "alice", "gateway_domain": null, "server_username": "root",
            "server_domain": null, "key_value_pairs": {}}});
        let done = home.run(&["gateway", "sps"], format!("{call}\n"));
        let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        said["question"][1].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    for (text, prompt) in [
        ("[auth]\nPrompt: Code:\n", "Code: "),
        ("[auth]\nprompt=Line one\n line two:\n", "Line one\nline two: "),
        ("[auth]\nprompt=Line one\n\n  line two:\n\n[totp]\n", "Line one\n\nline two: "),
        ("[auth]\nprompt=100%% of 100% %(x)s\n", "100% of 100% %(x)s "),
        ("[auth]\nprompt=\n", " "),
        ("[auth]\nprompt=$$\n", "$ "),
        ("[auth]\nprompt=$abc\n", "$abc "),
        ("[auth]\nprompt=$\n[credential_store]\nname=local\n", "From store: "),
    ] {
        assert_eq!(asked(text), prompt, "{text:?}");
    }
}

#[test]
fn a_warning_is_logged_at_the_start() {
    let home = sps_home("[acme]\n[auth]\nprompt=x\n");
    let done = home.run(&["gateway", "sps"], "");
    let place = format!("{}:1: [acme]: unknown section", home.ini().display());
    assert!(done.stderr.contains("plugin.ini may be meant otherwise") && done.stderr.contains(&place), "{done:?}");
    assert_eq!(done.stdout, "");
    let silent = home_with("[user_list spare]\nallow = no_user\n");
    let served = silent.run(&["serve"], format!("{}\n", request(1, "alice", json!({}))));
    assert!(served.stderr.contains("nobody asks for this list"), "{served:?}");
    assert_eq!(served.status, Some(0));
}
