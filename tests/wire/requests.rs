//! The form of a request: what may be missing, what is ignored, what is refused, and under which name it is answered.

use serde_json::{Value, json};

use crate::rig::{Answer, Asked, attempt, request};
use crate::{NOW, STEP, alice};

/// What no answer and no log line may repeat: longer than any number that a trace or a time could hold by chance.
const MARK: &str = "471147114711";
const NUMBER: u64 = 471_147_114_711;

/// The line `line`, answered by a `serve` of its own; and the answer as it was written.
fn ask_line(line: impl AsRef<[u8]>) -> (Answer, String) {
    let (home, _) = alice();
    let finished = home.run(&["serve"], line).ok();
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stdout);
    (Answer::parse(finished.stdout.as_bytes()), finished.stdout)
}

#[track_caller]
fn assert_invalid(line: impl AsRef<[u8]>, code: &str, id: &Value) {
    let shown = String::from_utf8_lossy(line.as_ref()).chars().take(200).collect::<String>();
    let (answer, _) = ask_line(&line);
    assert_eq!(answer.told(), format!("invalid_request/{code}"), "{shown}");
    assert_eq!(answer.message.as_deref(), Some("Invalid request"));
    assert_eq!(&answer.id, id, "{shown}");
}

/// Every field of a request beside `type` and `id`, with a value of the right type.
fn every_field() -> Value {
    json!({
        "v": 1, "session_id": "s", "protocol": "ssh", "connection_name": "c", "client_ip": "192.0.2.7",
        "client_port": 65535, "client_hostname": "h", "gateway_user": "alice", "gateway_domain": "d",
        "gateway_groups": ["g", ""], "server_ip": "192.0.2.8", "server_port": 0, "server_hostname": "h",
        "server_username": "root", "server_domain": "d", "key_value_pairs": {"gu": "bob"}, "cookie": "c",
        "session_cookie": {"any": [1, {"thing": null}]}, "deadline_ms": 5000,
        "dialogue": true,
    })
}

#[test]
fn every_field_may_be_there_or_null_or_missing() {
    let (home, _) = alice();
    let mut request = every_field();
    (request["type"], request["id"]) = (json!("authenticate"), json!(1));
    assert_eq!(home.ask_one(&request).verdict(), "need_info");
    let fields: Vec<String> = every_field().as_object().unwrap().keys().cloned().collect();
    for field in &fields {
        request[field] = Value::Null;
        assert_eq!(home.ask_one(&request).verdict(), "need_info", "{field} is null");
        request["gateway_user"] = json!("alice");
    }
    for field in &fields {
        if field != "gateway_user" {
            request.as_object_mut().unwrap().remove(field);
            assert_eq!(home.ask_one(&request).verdict(), "need_info", "{field} is missing");
        }
    }
}

#[test]
fn null_is_as_good_as_missing_inside_the_answers() {
    let (home, _) = alice();
    for pairs in [json!({}), json!({"otp": null}), json!({"otp": null, "x": "y", "otp2": "1"})] {
        let answer = home.ask_one(&request(1, "alice", json!({"key_value_pairs": pairs})));
        assert_eq!(answer.verdict(), "need_info");
    }
}

#[test]
fn a_field_of_the_wrong_type_is_refused_by_its_name_without_its_value() {
    let texts = [
        "session_id",
        "protocol",
        "connection_name",
        "client_ip",
        "client_hostname",
        "gateway_user",
        "gateway_domain",
        "server_ip",
        "server_hostname",
        "server_username",
        "server_domain",
        "cookie",
        "type",
    ];
    let flawed = |field: &str, value: Value, code: &str| {
        let mut request = request("me", "alice", json!({}));
        request[field] = value.clone();
        let (answer, line) = ask_line(request.to_string());
        assert_eq!(answer.told(), format!("invalid_request/{code}"), "{field}: {value}");
        assert_eq!(answer.id, if field == "id" { Value::Null } else { json!("me") });
        assert!(answer.reason().starts_with(&format!("{field}: ")), "{line}");
        assert!(!line.contains(MARK), "{line}");
    };
    let wrong = [json!(NUMBER), json!(471147114711.5), json!(true), json!([MARK]), json!({(MARK): MARK}), json!(MARK)];
    for value in &wrong[..5] {
        for field in texts {
            flawed(field, value.clone(), "wrong_type");
        }
    }
    for field in ["client_port", "server_port", "deadline_ms", "v"] {
        for value in &wrong[2..] {
            flawed(field, value.clone(), "wrong_type");
        }
        for value in [json!(-1), json!(471147114711.5), json!(1e30)] {
            flawed(field, value, "wrong_value");
        }
    }
    flawed("client_port", json!(65536), "wrong_value");
    flawed("server_port", json!(u64::MAX), "wrong_value");
    flawed("deadline_ms", json!(0), "wrong_value");
    for value in [json!(0), json!(2), json!(u64::MAX)] {
        flawed("v", value, "unsupported_version");
    }
    for value in [json!(NUMBER), json!(MARK), json!({(MARK): 1}), json!([NUMBER]), json!([[MARK]]), json!([null])] {
        flawed("gateway_groups", value, "wrong_type");
    }
    for value in [json!(NUMBER), json!(MARK), json!(["otp"]), json!({"otp": NUMBER}), json!({"otp": [MARK]})] {
        flawed("key_value_pairs", value, "wrong_type");
    }
    for value in [json!(NUMBER), json!(MARK), json!([MARK]), json!(false)] {
        flawed("session_cookie", value, "wrong_type");
    }
    for value in [json!(NUMBER), json!(MARK), json!([true]), json!({(MARK): true})] {
        flawed("dialogue", value, "wrong_type");
    }
    for value in [json!(true), json!([MARK]), json!({(MARK): NUMBER})] {
        flawed("id", value, "wrong_type");
    }
    flawed("type", json!(MARK), "unknown_type");
    flawed("type", json!("Authenticate"), "unknown_type");
    flawed("type", json!(""), "missing_field");
    flawed("type", Value::Null, "missing_field");
}

#[test]
fn a_field_that_nobody_knows_is_ignored_and_named_in_the_log_once() {
    let (home, phone) = alice();
    let more = json!({"gateway_usr": "bob", "future": {"deep": [1, 2.5, {"x": null}]}, "CANARY\n": MARK});
    let mut first = attempt(1, "alice", &phone.code(STEP));
    first.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut second = first.clone();
    second["id"] = json!(2);
    let answers = home.ask(&[first, second]);
    assert_eq!(answers.iter().filter(|answer| answer.verdict() == "accept").count(), 1);
    let log = home.log();
    for field in ["gateway_usr", "future", "CANARY<U+000A>"] {
        let named = log.lines().filter(|line| line.contains("unknown field") && line.contains(field)).count();
        assert_eq!(named, 1, "{field}\n{log}");
    }
    assert!(!log.contains(MARK));
}

#[test]
fn an_id_comes_back_as_it_came() {
    let longest = format!("\"{}\"", "é".repeat(127));
    assert_eq!(longest.len(), 256);
    for (sent, back) in [
        ("1", "1"),
        ("0", "0"),
        ("-1", "-1"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1.5", "1.5"),
        (r#""""#, r#""""#),
        (r#""1""#, r#""1""#),
        (r#""ž \"\\\/\n\u0041""#, r#""ž \"\\/\nA""#),
        (r#""\ud83d\udd10\u0000""#, r#""🔐\u0000""#),
        (longest.as_str(), longest.as_str()),
    ] {
        for rest in [
            r#""type":"authenticate","gateway_user":"alice""#,
            r#""type":"hello""#,
            r#""type":"cancel""#,
            r#""type":"x""#,
        ] {
            for line in [format!("{{\"id\":{sent},{rest}}}"), format!("{{{rest}, \"id\" : {sent} }}")] {
                let (_, answer) = ask_line(&line);
                assert!(answer.starts_with(&format!("{{\"v\":1,\"id\":{back},")), "{line} {answer}");
            }
        }
    }
    for line in [r#"{"type":"authenticate","gateway_user":"alice"}"#, r#"{"type":"hello","id":null}"#] {
        assert!(ask_line(line).1.starts_with(r#"{"v":1,"id":null,"#));
    }
}

#[test]
fn an_id_that_is_too_long_is_refused() {
    for id in ["x".repeat(255), "\u{1}".repeat(43), "x".repeat(60_000)] {
        let line = json!({"type": "hello", "id": id}).to_string();
        assert_invalid(line, "id_too_long", &Value::Null);
    }
}

#[test]
fn a_line_that_is_no_request_is_refused_under_its_id_where_that_can_be_read() {
    let null = &Value::Null;
    let one = &json!(1);
    for (line, code, id) in [
        ("\n", "not_json", null),
        ("  \t \n", "not_json", null),
        ("{", "not_json", null),
        ("hello", "not_json", null),
        ("{}", "missing_field", null),
        (r#"{"id":1}"#, "missing_field", one),
        (r#"{"id":1,"type":"hello"} {}"#, "not_json", one),
        (r#"{"id":1,"type":"hello""#, "not_json", one),
        (r#"{"type":"hello","id":1,"#, "not_json", one),
        (r#"{"type":"hello","id":1,"x":01}"#, "not_json", one),
        (r#"{"type":"hello","id":1,"x":1e400}"#, "not_json", one),
        (r#"{"type":"hello","id":1,"x":NaN}"#, "not_json", one),
        (r#"{'type':'hello'}"#, "not_json", null),
        (r#"{"type":"hello","id":1,"x":"\ud800"}"#, "not_json", one),
        (r#"{"type":"hello","id":1,"x":"\x"}"#, "not_json", one),
        ("{\"type\":\"hello\",\"id\":1,\"x\":\"\0\"}", "not_json", one),
        ("\u{feff}{\"type\":\"hello\"}", "not_json", null),
        (r#"[{"type":"hello","id":1}]"#, "not_an_object", null),
        (r#""hello""#, "not_an_object", null),
        ("17", "not_an_object", null),
        ("null", "not_an_object", null),
        ("true", "not_an_object", null),
        (r#"{"id":1,"type":"hello","type":"hello"}"#, "duplicate_key", one),
        (r#"{"id":1,"type":"hello","x":{"y":1,"y":1}}"#, "duplicate_key", one),
        (r#"{"id":1,"type":"hello","x":[[{"y":{"z":1,"z":2}}]]}"#, "duplicate_key", one),
        (r#"{"id":1,"type":"hello","\u0074ype":"hello"}"#, "duplicate_key", one),
        (r#"{"id":1,"type":"authenticate","key_value_pairs":{"otp":"1","otp":"2"}}"#, "duplicate_key", one),
        (r#"{"type":"cancel"}"#, "missing_field", null),
        (r#"{"type":"cancel","id":1,"target":true}"#, "wrong_type", one),
        (r#"{"type":"cancel","id":1,"target":{"id":2}}"#, "wrong_type", one),
        (r#"{"type":"","id":1}"#, "missing_field", one),
        (r#"{"type":"reload","id":1}"#, "unknown_type", one),
    ] {
        assert_invalid(line, code, id);
    }
    assert_invalid(b"{\"id\":1,\"type\":\"hello\",\"x\":\"\xff\"}", "not_utf8", one);
    assert_invalid(b"\xff\xfe{\x00}\x00", "not_utf8", null);
    assert_invalid(b"{\"id\":1,\"type\":\"hello\",\"x\":\"\xed\xa0\x80\"}", "not_utf8", one);
}

#[test]
fn depth_and_length_have_limits() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"type":"hello","id":1,"x":{open}{close}}}"#)
    };
    assert!(ask_line(nested(31)).0.hello.is_some());
    assert_invalid(nested(32), "too_deep", &json!(1));
    assert_invalid(nested(10_000), "too_deep", &json!(1));
    assert_invalid("[".repeat(50_000), "too_deep", &Value::Null);
    let long = |length: usize| {
        let line = r#"{"type":"hello","id":1,"x":""}"#;
        line.replace(r#""""#, &format!("\"{}\"", "x".repeat(length - line.len())))
    };
    assert_eq!(long(100).len(), 100);
    assert!(ask_line(long(64 * 1024)).0.hello.is_some());
    assert_invalid(long(64 * 1024 + 1), "line_too_long", &Value::Null);
    assert_invalid(long(1024 * 1024), "line_too_long", &Value::Null);
}

#[test]
fn a_key_that_is_there_twice_is_named_only_where_it_is_the_requests_own() {
    let (top, _) = ask_line(r#"{"id":1,"type":"hello","type":"hello"}"#);
    assert_eq!(top.reason(), "the key \"type\" is there twice");
    let (_, line) =
        ask_line(r#"{"id":1,"type":"hello","key_value_pairs":{"MARK":"MARK","MARK":"MARK"}}"#.replace("MARK", MARK));
    assert!(!line.contains(MARK), "{line}");
}

#[test]
fn lines_end_as_they_like() {
    let (home, _) = alice();
    let hello = |id| format!(r#"{{"type":"hello","id":{id}}}"#);
    let Asked { answers, status, stderr } = home.ask_raw(format!("{}\r\n  {}\t\n{}", hello(1), hello(2), hello(3)));
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(answers.iter().map(|answer| &answer.id).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn nothing_asked_is_nothing_answered() {
    let (home, _) = alice();
    let Asked { answers, status, stderr } = home.ask_raw("");
    assert_eq!((answers.len(), status, stderr.as_str()), (0, Some(0), ""));
}

#[test]
fn any_deadline_from_one_millisecond_is_taken() {
    let (home, phone) = alice();
    for deadline in [json!(600_000), json!(u64::MAX), Value::Null] {
        let mut request = request(1, "alice", json!({"key_value_pairs": {"otp": phone.wrong_code(NOW)}}));
        request["deadline_ms"] = deadline;
        assert_eq!(home.ask_one(&request).code(), "wrong_code");
    }
    // Too short for anything: whatever comes, it is no accept by accident, and it comes.
    let answer = home.ask_one(&request(1, "nobody", json!({"deadline_ms": 1, "key_value_pairs": {"otp": "123456"}})));
    assert!(["not_enrolled", "deadline_exceeded"].contains(&answer.code()), "{answer:?}");
}

#[test]
fn hello_tells_what_is_spoken_here() {
    let (home, _) = alice();
    home.set("plugin", "max_in_flight", "7");
    let hello = home.ask_one(&json!({"type": "hello", "id": 1, "v": 1, "anything": "else"})).hello.unwrap();
    assert_eq!((hello.name.as_str(), hello.version.as_str()), ("countersign", env!("CARGO_PKG_VERSION")));
    assert_eq!(hello.protocol_versions, [1]);
    assert_eq!(
        hello.capabilities,
        [
            "authenticate",
            "authorize",
            "session_ended",
            "challenge_request",
            "challenge_confirm",
            "challenge_check",
            "challenge_use",
            "cancel",
            "deadline_ms",
            "dialogue"
        ]
    );
    assert_eq!(hello.clients, ["totp"]);
    assert_eq!((hello.max_line_bytes, hello.max_in_flight), (65_536, 7));
}

#[test]
fn nothing_is_answered_where_the_configuration_cannot_be_used() {
    let (home, _) = alice();
    home.set("plugin", "deadline", "soon");
    let finished = home.run(&["serve"], "{\"type\":\"hello\",\"id\":1}\n");
    assert_eq!((finished.status, finished.stdout.as_str()), (Some(78), ""));
    assert!(finished.stderr.contains("[plugin] deadline: expected seconds"), "{}", finished.stderr);
}
