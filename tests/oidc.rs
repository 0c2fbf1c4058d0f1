//! `[oidc]` through the executable: against a real provider with a person at a browser, and against loopback providers that
//! say what that one cannot be brought to say.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail, and shows its tables"
)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rig::faults::Refused;
use rig::http::{Request, Response};
use rig::services::OidcProvider;
use rig::web::{Reply, Web};
use rig::{Answer, Gateway, Home, now, request};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

const DEVICE_CODE: &str = "device-code-that-nobody-may-see";
const SECRET: &str = "gateway-test-secret";

// What is told, by class and code.
const ODD: &str = "communication_error/unexpected_answer";
const FORGED: &str = "communication_error/bad_signature";
const SKEWED: &str = "communication_error/clock_skew";
const FOREIGN: &str = "communication_error/foreign_link";
const OTHER: &str = "authentication_failure/other_user";
const UNKNOWN: &str = "communication_error/credentials_refused";
const STATUS: &str = "communication_error/http_status";
const REFUSED: &str = "authentication_failure/push_refused";
const UNANSWERED: &str = "authentication_failure/push_unanswered";
const POLICY: &str = "authentication_failure/service_policy";
const NOT_JSON: &str = "communication_error/not_json";

/// A home whose client asks `issuer`.
fn home(issuer: &str) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "oidc");
    home.set("plugin", "deadline", "10");
    home.set("logging", "level", "debug");
    for (option, value) in
        [("issuer", issuer), ("client_id", "gateway"), ("client_secret", SECRET), ("allow_insecure_http", "yes")]
    {
        home.set("oidc", option, value);
    }
    home
}

/// The first request of `user`, which asks for nothing but the sign-in.
fn begin(home: &Home, user: &str) -> Answer {
    home.ask_one(&request("1", user, json!({"session_id": "one session"})))
}

/// What is said when `user` presses Enter, by another process.
fn enter(home: &Home, user: &str, first: &Answer) -> Answer {
    let more = json!({"session_id": "one session", "key_value_pairs": {"otp": ""}, "cookie": first.cookie()});
    let answer = home.ask_one(&request("2", user, more));
    let said = format!("{}{answer:?}{first:?}", home.log());
    // What tokens begin with, too: too long to stand in a cookie by chance.
    for secret in [SECRET, DEVICE_CODE, "eyJhbGci", "eyJ0eXAi"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    answer
}

/// The whole sign-in of `user` at a provider that needs no person.
fn sign_in(home: &Home, user: &str) -> Answer {
    let first = begin(home, user);
    if first.verdict() == "need_info" { enter(home, user, &first) } else { first }
}

/// The code that is shown.
#[track_caller]
fn code(first: &Answer) -> String {
    let question = first.question.as_ref().unwrap_or_else(|| panic!("{first:?}"));
    let (_, rest) = question.prompt.split_once(" and enter the code ").unwrap();
    rest.split_once(". Press Enter").unwrap().0.to_owned()
}

/// Prints what was said of each situation, and how often.
fn table(what: &str, rows: &[(String, String)]) {
    let mut counts = BTreeMap::new();
    for (_, told) in rows {
        *counts.entry(told).or_insert(0) += 1;
    }
    println!("{what}: {} situations", rows.len());
    for (name, told) in rows {
        println!("    {name:<48} {told}");
    }
    for (told, count) in counts {
        println!("  {count:>3} {told}");
    }
}

// ------------------------------------------------------------------------------------------------------- real provider

/// What the person at the browser does.
#[derive(Clone, Copy)]
enum Person {
    Approves(&'static str),
    Denies,
    Sleeps,
}

#[test]
fn a_real_provider_is_understood() {
    let (Some(provider), Some(hasty)) = (OidcProvider::start(60), OidcProvider::start(2)) else { return };
    let ours = |provider: &OidcProvider| {
        let home = home(&provider.issuer);
        home.set("oidc", "client_id", &provider.client_id);
        home.set("oidc", "client_secret", &provider.client_secret);
        home
    };
    let with = |option: &str, value: &str| {
        let home = ours(&provider);
        home.set("oidc", option, value);
        home
    };
    let public = with("client_id", &provider.public_client_id);
    public.set("oidc", "client_secret", "");
    let unknown = with("client_id", "nosuch");
    unknown.set("oidc", "client_secret", "");
    let email = with("claim", "email");
    email.set("oidc", "scope", "openid email");
    let short = ours(&provider);
    short.set("plugin", "deadline", "3");
    let mut rows = Vec::new();
    for (name, home, user, person, expected) in [
        ("approved", ours(&provider), "alice", Person::Approves("alice"), "accept"),
        ("approved, public client", public, "alice", Person::Approves("alice"), "accept"),
        ("approved, by e-mail", email, "Alice@Example.test", Person::Approves("alice"), "accept"),
        ("approved, in another case", ours(&provider), "Alice", Person::Approves("alice"), OTHER),
        ("approved-by-someone-else", ours(&provider), "alice", Person::Approves("mallory"), OTHER),
        ("denied", ours(&provider), "alice", Person::Denies, REFUSED),
        ("pending", short, "alice", Person::Sleeps, UNANSWERED),
        ("expired", ours(&hasty), "alice", Person::Sleeps, UNANSWERED),
        ("approved, but not by mfa", with("require_amr", "mfa"), "alice", Person::Approves("alice"), POLICY),
        ("approved, without the claim", with("scope", "openid"), "alice", Person::Approves("alice"), ODD),
        ("approved, without an id_token", with("scope", "profile"), "alice", Person::Approves("alice"), ODD),
        ("wrong-secret", with("client_secret", "wrong"), "alice", Person::Sleeps, UNKNOWN),
        ("unknown-client", unknown, "alice", Person::Sleeps, UNKNOWN),
        ("not-found", with("issuer", &format!("{}/nosuch", provider.issuer)), "alice", Person::Sleeps, STATUS),
    ] {
        let first = begin(&home, user);
        let answer = if first.verdict() == "need_info" {
            match person {
                Person::Approves(login) => provider.approve(&code(&first), login),
                Person::Denies => provider.deny(&code(&first)),
                Person::Sleeps => {}
            }
            enter(&home, user, &first)
        } else {
            first
        };
        assert_eq!(answer.told(), expected, "{name}: {answer:?}");
        if expected == "accept" {
            assert_eq!(answer.factor.as_deref(), Some("device_flow"), "{name}");
        }
        rows.push((name.to_owned(), answer.told()));
    }
    table("oidc-provider", &rows);
}

#[test]
fn a_sign_in_that_was_used_is_not_used_again() {
    let Some(provider) = OidcProvider::start(60) else { return };
    let home = home(&provider.issuer);
    let first = begin(&home, "alice");
    let text = format!("Open {}/device and enter the code {}. Press Enter when done: ", provider.issuer, code(&first));
    assert_eq!(first.question.as_ref().unwrap().prompt, text);
    provider.approve(&code(&first), "alice");
    assert_eq!(enter(&home, "alice", &first).verdict(), "accept");
    assert_eq!(enter(&home, "alice", &first).told(), "authentication_failure/challenge_gone");
}

#[test]
fn a_code_that_cannot_be_shown_is_not_made() {
    let web = provider(|_, _, response| response.into());
    let home = home(&web.url(""));
    let answer = home.ask_one(&request("1", "alice", json!({"protocol": "http"})));
    assert_eq!(answer.told(), "policy_denied/push_off", "{answer:?}");
    let answer = home.ask_one(&request("1", "alice", json!({"key_value_pairs": {"otp": "123456"}})));
    assert_eq!(answer.verdict(), "reject", "{answer:?}");
    home.set("push", "mode", "plain");
    assert_eq!(begin(&home, "alice").told(), "policy_denied/push_off");
    assert_eq!(web.seen().connections, 0);
}

#[test]
fn a_claimant_may_press_enter_before_they_sign_in() {
    let Some(provider) = OidcProvider::start(60) else { return };
    let home = home(&provider.issuer);
    let mut gateway = Gateway::start(&home);
    let first = gateway.ask(&request("1", "alice", json!({"session_id": "s"})));
    let more = json!({"session_id": "s", "key_value_pairs": {"otp": ""}, "cookie": first.cookie()});
    gateway.send(&request("2", "alice", more));
    gateway.sync();
    provider.approve(&code(&first), "alice");
    let answer = gateway.answer("2");
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("device_flow")), "{answer:?}");
}

// ---------------------------------------------------------------------------------------------------- loopback provider

/// The keys of the loopback provider, and of somebody else.
struct Keys {
    rsa: RsaPrivateKey,
    stranger: RsaPrivateKey,
    p256: rcgen::KeyPair,
    p384: rcgen::KeyPair,
    ed25519: rcgen::KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        rsa: RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap(),
        stranger: RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap(),
        p256: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        p384: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        ed25519: rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
    })
}

fn rsa_key(key: &RsaPrivateKey) -> EncodingKey {
    EncodingKey::from_rsa_der(key.to_pkcs1_der().unwrap().as_bytes())
}

fn published() -> Value {
    let Keys { rsa, stranger: _, p256, p384, ed25519 } = keys();
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let point = |kid: &str, curve: &str, key: &rcgen::KeyPair| {
        let raw = key.public_key_raw();
        let (x, y) = raw[1..].split_at((raw.len() - 1) / 2);
        json!({"kty": "EC", "kid": kid, "use": "sig", "crv": curve, "x": text(x), "y": text(y)})
    };
    json!({"keys": [
        {"kty": "RSA", "kid": "r", "use": "sig", "e": text(&rsa.e().to_bytes_be()), "n": text(&rsa.n().to_bytes_be())},
        point("p256", "P-256", p256),
        point("p384", "P-384", p384),
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": text(ed25519.public_key_raw())},
        {"kty": "oct", "kid": "secret", "k": text(SECRET.as_bytes())},
        {"kty": "new", "kid": "unheard of"},
    ]})
}

/// What a token of alice's says, just now, from `issuer`.
fn claims(issuer: &str) -> Value {
    json!({
        "iss": issuer, "aud": "gateway", "sub": "1234", "preferred_username": "alice", "iat": now(), "exp": now() + 300,
        "amr": ["pwd", "otp", "mfa"],
    })
}

fn token(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// A token that the provider signed.
fn signed(claims: &Value) -> String {
    token(Algorithm::RS256, Some("r"), claims, &rsa_key(&keys().rsa))
}

/// What the token endpoint answers.
fn tokens(id_token: &str) -> Response {
    let tokens = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": id_token});
    Response::json(200, &tokens)
}

/// A provider where alice signs in at once; `change` may say something else at each path.
fn provider(change: impl Fn(&str, &str, Response) -> Reply + Send + Sync + 'static) -> Web {
    Web::serve(move |request: &Request| {
        let issuer = format!("http://{}", request.header("host").unwrap());
        let response = match request.path.as_str() {
            "/.well-known/openid-configuration" => Response::json(
                200,
                &json!({
                    "issuer": issuer, "device_authorization_endpoint": format!("{issuer}/device"),
                    "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
                }),
            ),
            "/device" => Response::json(
                200,
                &json!({
                    "device_code": DEVICE_CODE, "user_code": "ABCD-EFGH", "verification_uri": format!("{issuer}/sign-in"),
                    "expires_in": 60, "interval": 1,
                }),
            ),
            "/token" => tokens(&signed(&claims(&issuer))),
            "/keys" => Response::json(200, &published()).content_type("application/jwk-set+json"),
            _ => Response::empty(404),
        };
        change(&request.path, &issuer, response)
    })
}

/// What is said where `path` answers what `answer` makes of its issuer and of what it would say.
fn told(path: &'static str, answer: impl Fn(&str, Value) -> Response + Send + Sync + 'static) -> Answer {
    let web = provider(move |asked, issuer, response| {
        if asked != path {
            return response.into();
        }
        answer(issuer, serde_json::from_slice(&response.body).unwrap()).into()
    });
    sign_in(&home(&web.url("")), "alice")
}

#[test]
fn only_a_token_that_the_provider_signed_for_us_just_now_accepts() {
    type Forge = fn(&str) -> String;
    type Change = fn(&mut Value);
    let mut rows = Vec::new();
    let forged: &[(&str, Forge, &str)] = &[
        ("RS256", |issuer| signed(&claims(issuer)), "accept"),
        (
            "RS256 without kid, one key fits",
            |issuer| token(Algorithm::RS256, None, &claims(issuer), &rsa_key(&keys().rsa)),
            "accept",
        ),
        ("RS384", |issuer| token(Algorithm::RS384, Some("r"), &claims(issuer), &rsa_key(&keys().rsa)), "accept"),
        ("RS512", |issuer| token(Algorithm::RS512, Some("r"), &claims(issuer), &rsa_key(&keys().rsa)), "accept"),
        ("PS256", |issuer| token(Algorithm::PS256, Some("r"), &claims(issuer), &rsa_key(&keys().rsa)), "accept"),
        ("PS384", |issuer| token(Algorithm::PS384, Some("r"), &claims(issuer), &rsa_key(&keys().rsa)), "accept"),
        ("PS512", |issuer| token(Algorithm::PS512, Some("r"), &claims(issuer), &rsa_key(&keys().rsa)), "accept"),
        (
            "ES256",
            |issuer| {
                token(
                    Algorithm::ES256,
                    Some("p256"),
                    &claims(issuer),
                    &EncodingKey::from_ec_der(&keys().p256.serialize_der()),
                )
            },
            "accept",
        ),
        (
            "ES384",
            |issuer| {
                token(
                    Algorithm::ES384,
                    Some("p384"),
                    &claims(issuer),
                    &EncodingKey::from_ec_der(&keys().p384.serialize_der()),
                )
            },
            "accept",
        ),
        (
            "EdDSA",
            |issuer| {
                token(
                    Algorithm::EdDSA,
                    Some("ed"),
                    &claims(issuer),
                    &EncodingKey::from_ed_der(&keys().ed25519.serialize_der()),
                )
            },
            "accept",
        ),
        (
            "RS256 by somebody else's key",
            |issuer| token(Algorithm::RS256, Some("r"), &claims(issuer), &rsa_key(&keys().stranger)),
            FORGED,
        ),
        (
            "RS256 by a key that is not published",
            |issuer| token(Algorithm::RS256, Some("new"), &claims(issuer), &rsa_key(&keys().rsa)),
            FORGED,
        ),
        (
            "RS256 that names a key of another kind",
            |issuer| token(Algorithm::RS256, Some("p256"), &claims(issuer), &rsa_key(&keys().rsa)),
            FORGED,
        ),
        (
            "HS256 by the public modulus",
            |issuer| {
                token(
                    Algorithm::HS256,
                    Some("r"),
                    &claims(issuer),
                    &EncodingKey::from_secret(&keys().rsa.n().to_bytes_be()),
                )
            },
            FORGED,
        ),
        (
            "HS256 by the public key as published",
            |issuer| {
                token(
                    Algorithm::HS256,
                    Some("r"),
                    &claims(issuer),
                    &EncodingKey::from_secret(published()["keys"][0].to_string().as_bytes()),
                )
            },
            FORGED,
        ),
        (
            "HS256 by the client's secret",
            |issuer| token(Algorithm::HS256, None, &claims(issuer), &EncodingKey::from_secret(SECRET.as_bytes())),
            FORGED,
        ),
        (
            "HS512 by a published secret",
            |issuer| {
                token(Algorithm::HS512, Some("secret"), &claims(issuer), &EncodingKey::from_secret(SECRET.as_bytes()))
            },
            FORGED,
        ),
        ("none", |issuer| by_hand(&json!({"alg": "none"}), &claims(issuer), ""), FORGED),
        ("None", |issuer| by_hand(&json!({"alg": "None", "kid": "r"}), &claims(issuer), "AAAA"), FORGED),
        ("no algorithm", |issuer| by_hand(&json!({"kid": "r"}), &claims(issuer), "AAAA"), FORGED),
        (
            "RS256 without a signature",
            |issuer| by_hand(&json!({"alg": "RS256", "kid": "r"}), &claims(issuer), ""),
            FORGED,
        ),
        (
            "RS256 that brings its own key",
            |issuer| {
                let mut header = json!({"alg": "RS256"});
                let stranger = &keys().stranger;
                let (e, n) = (stranger.e().to_bytes_be(), stranger.n().to_bytes_be());
                header["jwk"] = json!({"kty": "RSA", "e": BASE64URL_NOPAD.encode(&e), "n": BASE64URL_NOPAD.encode(&n)});
                resigned(&header, &claims(issuer), stranger)
            },
            FORGED,
        ),
        (
            "a critical header",
            |issuer| resigned(&json!({"alg": "RS256", "kid": "r", "crit": ["exp"]}), &claims(issuer), &keys().rsa),
            ODD,
        ),
        (
            "the claims of a token under another's signature",
            |issuer| {
                let mut other = claims(issuer);
                other["preferred_username"] = json!("mallory");
                let (real, wanted) = (signed(&other), signed(&claims(issuer)));
                let (real, wanted): (Vec<_>, Vec<_>) = (real.split('.').collect(), wanted.split('.').collect());
                format!("{}.{}.{}", real[0], wanted[1], real[2])
            },
            FORGED,
        ),
        (
            "a claim twice",
            |issuer| {
                let text = claims(issuer).to_string().replacen('{', "{\"preferred_username\":\"mallory\",", 1);
                let signed = format!("{}.{}", part(br#"{"alg":"RS256","kid":"r"}"#), part(text.as_bytes()));
                sign(&signed, &keys().rsa)
            },
            ODD,
        ),
        ("four parts", |issuer| signed(&claims(issuer)) + ".AAAA", ODD),
        ("two parts", |issuer| signed(&claims(issuer)).rsplit_once('.').unwrap().0.to_owned(), ODD),
        ("nothing", |_| String::new(), ODD),
        ("padded base64", |issuer| signed(&claims(issuer)).replace('.', "=."), ODD),
    ];
    for (name, forge, expected) in forged {
        let forge = *forge;
        let answer = told("/token", move |issuer, _| tokens(&forge(issuer)));
        assert_eq!(answer.told(), *expected, "{name}: {answer:?}");
        rows.push(((*name).to_owned(), answer.told()));
    }
    let changed: &[(&str, Change, &str)] = &[
        (
            "several audiences, issued to us",
            |claims| {
                claims["aud"] = json!(["api", "gateway"]);
                claims["azp"] = json!("gateway");
            },
            "accept",
        ),
        (
            "a clock 30 s ahead",
            |claims| {
                claims["iat"] = json!(now() + 30);
            },
            "accept",
        ),
        ("another issuer", |claims| claims["iss"] = json!("https://elsewhere.example"), ODD),
        ("no issuer", |claims| drop(claims.as_object_mut().unwrap().remove("iss")), ODD),
        ("another audience", |claims| claims["aud"] = json!("another-client"), ODD),
        ("several audiences", |claims| claims["aud"] = json!(["api", "gateway"]), ODD),
        ("issued to another client", |claims| claims["azp"] = json!("another-client"), ODD),
        ("no audience", |claims| drop(claims.as_object_mut().unwrap().remove("aud")), ODD),
        ("expired", |claims| claims["exp"] = json!(now() - 120), SKEWED),
        ("without an end", |claims| drop(claims.as_object_mut().unwrap().remove("exp")), ODD),
        ("older than the code", |claims| claims["iat"] = json!(now() - 120), SKEWED),
        ("of the future", |claims| claims["iat"] = json!(now() + 600), SKEWED),
        ("not valid yet", |claims| claims["nbf"] = json!(now() + 600), SKEWED),
        ("without a beginning", |claims| drop(claims.as_object_mut().unwrap().remove("iat")), ODD),
        ("mallory", |claims| claims["preferred_username"] = json!("mallory"), OTHER),
        ("ALICE", |claims| claims["preferred_username"] = json!("ALICE"), OTHER),
        ("alice and a space", |claims| claims["preferred_username"] = json!("alice "), OTHER),
        ("alice@elsewhere.example", |claims| claims["preferred_username"] = json!("alice@elsewhere.example"), OTHER),
        ("a list of names", |claims| claims["preferred_username"] = json!(["alice"]), ODD),
        ("no name", |claims| claims["preferred_username"] = json!(""), OTHER),
        ("no claim", |claims| drop(claims.as_object_mut().unwrap().remove("preferred_username")), ODD),
    ];
    for (name, change, expected) in changed {
        let change = *change;
        let answer = told("/token", move |issuer, _| {
            let mut claims = claims(issuer);
            change(&mut claims);
            tokens(&signed(&claims))
        });
        assert_eq!(answer.told(), *expected, "{name}: {answer:?}");
        rows.push(((*name).to_owned(), answer.told()));
    }
    table("tokens", &rows);
}

fn part(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// A token with a signature that is what it is.
fn by_hand(header: &Value, claims: &Value, signature: &str) -> String {
    format!("{}.{}.{signature}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()))
}

/// A token with any header, rightly signed by `key`.
fn resigned(header: &Value, claims: &Value, key: &RsaPrivateKey) -> String {
    sign(&format!("{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes())), key)
}

fn sign(signed: &str, key: &RsaPrivateKey) -> String {
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &rsa_key(key), Algorithm::RS256).unwrap();
    format!("{signed}.{signature}")
}

#[test]
fn the_method_and_the_address_have_to_be_proved_where_they_matter() {
    for (option, value, user, change, expected) in [
        ("require_amr", "mfa", "alice", json!({}), "accept"),
        ("require_amr", "hwk, OTP", "alice", json!({}), "accept"),
        ("require_amr", "hwk", "alice", json!({}), POLICY),
        ("require_amr", "mfa", "alice", json!({"amr": ["pwd"], "acr": "1"}), POLICY),
        ("require_amr", "mfa", "alice", json!({"amr": "mfa"}), POLICY),
        ("require_amr", "phr", "alice", json!({"amr": [], "acr": "phr"}), "accept"),
        ("claim", "email", "a@x.example", json!({"email": "A@X.example"}), "accept"),
        ("claim", "email", "a@x.example", json!({"email": "a@x.example", "email_verified": true}), "accept"),
        ("claim", "email", "a@x.example", json!({"email": "a@x.example", "email_verified": false}), OTHER),
        ("claim", "email", "a@x.example", json!({"email": "a@x.example", "email_verified": "true"}), OTHER),
        ("claim", "sub", "a@x.example", json!({"sub": "A@x.example"}), OTHER),
        ("claim", "sub", "a@x.example", json!({"sub": "a@x.example"}), "accept"),
    ] {
        let shown = format!("{option} = {value}: {change}");
        let web = provider(move |path, issuer, response| {
            if path != "/token" {
                return response.into();
            }
            let mut claims = claims(issuer);
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            tokens(&signed(&claims)).into()
        });
        let home = home(&web.url(""));
        home.set("oidc", option, value);
        let answer = sign_in(&home, user);
        assert_eq!(answer.told(), expected, "{shown}: {answer:?}");
    }
}

#[test]
fn every_answer_of_a_provider_has_its_class() {
    type Say = fn(&str, Value) -> Response;
    let mut rows = Vec::new();
    let answers: &[(&str, &'static str, Say, &str)] = &[
        (
            "another issuer",
            "/.well-known/openid-configuration",
            |_, json| with(json, "issuer", json!("https://elsewhere.example")),
            ODD,
        ),
        (
            "an issuer with a path",
            "/.well-known/openid-configuration",
            |issuer, json| with(json, "issuer", json!(format!("{issuer}/a"))),
            ODD,
        ),
        (
            "an issuer with a slash",
            "/.well-known/openid-configuration",
            |issuer, json| with(json, "issuer", json!(format!("{issuer}/"))),
            "accept",
        ),
        (
            "no device flow",
            "/.well-known/openid-configuration",
            |_, json| without(json, "device_authorization_endpoint"),
            ODD,
        ),
        ("no token endpoint", "/.well-known/openid-configuration", |_, json| without(json, "token_endpoint"), ODD),
        (
            "a token endpoint with a password",
            "/.well-known/openid-configuration",
            |issuer, json| with(json, "token_endpoint", json!(issuer.replace("//", "//a:b@"))),
            FOREIGN,
        ),
        (
            "keys in a file",
            "/.well-known/openid-configuration",
            |_, json| with(json, "jwks_uri", json!("file:///etc/passwd")),
            FOREIGN,
        ),
        (
            "metadata in a page",
            "/.well-known/openid-configuration",
            |_, _| Response::new(200, "text/html", "<html>"),
            NOT_JSON,
        ),
        ("device: invalid_client", "/device", |_, _| error(401, "invalid_client"), UNKNOWN),
        ("device: unauthorized_client", "/device", |_, _| error(400, "unauthorized_client"), UNKNOWN),
        ("device: invalid_scope", "/device", |_, _| error(400, "invalid_scope"), ODD),
        ("device: 500", "/device", |_, _| error(500, "server_error"), STATUS),
        ("device: 503", "/device", |_, _| Response::empty(503), "service_unreachable/service_unavailable"),
        (
            "device: 302",
            "/device",
            |_, json| Response::json(302, &json).with("Location", "/token"),
            "communication_error/redirected",
        ),
        ("device: no user_code", "/device", |_, json| without(json, "user_code"), ODD),
        (
            "device: a user_code that is a sentence",
            "/device",
            |_, json| with(json, "user_code", json!("A\nB. Call 555")),
            ODD,
        ),
        ("device: no expires_in", "/device", |_, json| without(json, "expires_in"), ODD),
        (
            "device: a script to open",
            "/device",
            |_, json| with(json, "verification_uri", json!("javascript:alert(1)")),
            FOREIGN,
        ),
        (
            "device: Google's name for the address",
            "/device",
            |_, json| {
                let uri = json["verification_uri"].clone();
                with(serde_json::from_slice(&without(json, "verification_uri").body).unwrap(), "verification_url", uri)
            },
            "accept",
        ),
        ("token: access_denied", "/token", |_, _| error(400, "access_denied"), REFUSED),
        ("token: access_denied with 403", "/token", |_, _| error(403, "access_denied"), REFUSED),
        ("token: authorization_declined", "/token", |_, _| error(400, "authorization_declined"), REFUSED),
        ("token: expired_token", "/token", |_, _| error(400, "expired_token"), UNANSWERED),
        ("token: invalid_client", "/token", |_, _| error(401, "invalid_client"), UNKNOWN),
        ("token: invalid_grant", "/token", |_, _| error(400, "invalid_grant"), ODD),
        ("token: invalid_request", "/token", |_, _| error(400, "invalid_request"), ODD),
        ("token: bad_verification_code", "/token", |_, _| error(400, "bad_verification_code"), ODD),
        ("token: unsupported_grant_type", "/token", |_, _| error(400, "unsupported_grant_type"), ODD),
        (
            "token: an error that repeats the code",
            "/token",
            |_, _| Response::json(400, &json!({"error": "odd", "error_description": DEVICE_CODE})),
            ODD,
        ),
        ("token: 400 without an error", "/token", |_, _| Response::json(400, &json!({})), STATUS),
        ("token: 404", "/token", |_, _| Response::empty(404), STATUS),
        ("token: pending with 200", "/token", |_, _| error(200, "authorization_pending"), ODD),
        ("token: tokens with 201", "/token", |_, json| Response::json(201, &json), STATUS),
        ("token: tokens with 400", "/token", |_, json| Response::json(400, &json), STATUS),
        ("token: tokens with 500", "/token", |_, json| Response::json(500, &json), STATUS),
        ("token: no id_token", "/token", |_, json| without(json, "id_token"), ODD),
        ("token: true for an id_token", "/token", |_, json| with(json, "id_token", json!(true)), ODD),
        (
            "token: two id_tokens",
            "/token",
            |_, json| {
                let text = json.to_string();
                Response::json(200, &json).body(text.replacen('{', "{\"id_token\":\"x\",", 1))
            },
            NOT_JSON,
        ),
        ("keys: none", "/keys", |_, _| Response::json(200, &json!({"keys": []})), FORGED),
        ("keys: null", "/keys", |_, _| Response::json(200, &json!(null)), FORGED),
        (
            "keys: one twice",
            "/keys",
            |_, json| {
                let key = json["keys"][0].clone();
                Response::json(200, &json!({"keys": [key, key]}))
            },
            ODD,
        ),
        (
            "keys: for encryption",
            "/keys",
            |_, mut json| {
                json["keys"][0]["use"] = json!("enc");
                Response::json(200, &json)
            },
            FORGED,
        ),
        (
            "keys: for another algorithm",
            "/keys",
            |_, mut json| {
                json["keys"][0]["alg"] = json!("PS256");
                Response::json(200, &json)
            },
            FORGED,
        ),
        ("keys: 404", "/keys", |_, _| Response::empty(404), STATUS),
        ("keys: a page", "/keys", |_, _| Response::new(200, "text/html", "<html>"), NOT_JSON),
    ];
    for (name, path, say, expected) in answers {
        let say = *say;
        let answer = told(path, say);
        assert_eq!(answer.told(), *expected, "{name}: {answer:?}");
        rows.push(((*name).to_owned(), answer.told()));
    }
    table("answers", &rows);
}

fn with(mut json: Value, name: &str, value: Value) -> Response {
    json[name] = value;
    Response::json(200, &json)
}

fn without(mut json: Value, name: &str) -> Response {
    json.as_object_mut().unwrap().remove(name);
    Response::json(200, &json)
}

fn error(status: u16, error: &str) -> Response {
    Response::json(status, &json!({"error": error, "error_description": "as the test wants it"}))
}

#[test]
fn addresses_without_tls_are_not_followed_unless_all_may_be() {
    let authority = rig::authority::Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"], rig::authority::Validity::Valid);
    for name in ["device_authorization_endpoint", "token_endpoint", "jwks_uri"] {
        let web = Web::serve_tls(&certificate, move |request: &Request| {
            let issuer = format!("https://{}", request.header("host").unwrap());
            let endpoint = |path: &str| json!(format!("{issuer}{path}"));
            let metadata = json!({
                "issuer": issuer, "device_authorization_endpoint": endpoint("/device"),
                "token_endpoint": endpoint("/token"), "jwks_uri": endpoint("/keys"),
            });
            with(metadata, name, json!(issuer.replace("https", "http")))
        });
        let home = home(&web.url(""));
        home.set("oidc", "allow_insecure_http", "no");
        home.set("oidc", "ca_file", &authority.ca_file().display().to_string());
        let answer = begin(&home, "alice");
        assert_eq!(answer.told(), FOREIGN, "{name}: {answer:?}");
        assert_eq!(web.requests().len(), 1);
    }
}

#[test]
fn endpoints_may_lie_elsewhere() {
    let elsewhere = provider(|_, _, response| response.into());
    let there = elsewhere.url("");
    let web = provider(move |path, _, response| {
        if path != "/.well-known/openid-configuration" {
            return response.into();
        }
        let json: Value = serde_json::from_slice(&response.body).unwrap();
        with(json, "device_authorization_endpoint", json!(format!("{there}/device"))).into()
    });
    let home = home(&web.url(""));
    let first = begin(&home, "alice");
    assert!(first.question.unwrap().prompt.contains(&elsewhere.url("/sign-in")));
    let asked = elsewhere.requests();
    assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/device"));
}

#[test]
fn a_provider_that_was_reached_never_opens_the_door() {
    let gone = Refused::new();
    for (name, expected) in [
        ("device_authorization_endpoint", "service_unreachable/connection_refused"),
        ("token_endpoint", "service_unreachable/connection_refused"),
        ("jwks_uri", "service_unreachable/connection_refused"),
        ("more", OTHER),
    ] {
        let there = format!("http://{}/", gone.host());
        let web = provider(move |path, issuer, response| match path {
            "/.well-known/openid-configuration" => {
                with(serde_json::from_slice(&response.body).unwrap(), name, json!(there)).into()
            }
            "/token" => {
                let mut claims = claims(issuer);
                claims["preferred_username"] = json!("mallory");
                tokens(&signed(&claims)).into()
            }
            _ => response.into(),
        });
        let home = home(&web.url(""));
        home.set("oidc", "on_unreachable", "accept");
        assert_eq!(sign_in(&home, "alice").told(), expected, "{name}");
    }
    let home = home(&format!("http://{}", gone.host()));
    home.set("oidc", "on_unreachable", "accept");
    assert_eq!(begin(&home, "alice").degraded, Some(true));
}

#[test]
fn a_client_is_known_by_its_secret_or_by_its_id() {
    let web = provider(|_, _, response| response.into());
    let home = home(&web.url(""));
    for (id, secret, header) in
        [("gateway", "a:b c+d&e", Some("Basic Z2F0ZXdheTphJTNBYitjJTJCZCUyNmU=")), ("gateway", "", None)]
    {
        home.set("oidc", "client_id", id);
        home.set("oidc", "client_secret", secret);
        let before = web.requests().len();
        assert_eq!(sign_in(&home, "alice").verdict(), "accept");
        let requests = web.requests().split_off(before);
        let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
        assert_eq!(paths, ["/.well-known/openid-configuration", "/device", "/token", "/keys"]);
        for request in &requests {
            let expected = if request.method == "POST" { header } else { None };
            assert_eq!(request.header("authorization"), expected, "{}", request.path);
            assert!(request.query.is_empty());
        }
        assert_eq!(requests[1].form(), [("scope".into(), "openid profile".into()), ("client_id".into(), id.into())]);
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let fields = [
            ("grant_type".into(), grant.into()),
            ("device_code".into(), DEVICE_CODE.into()),
            ("client_id".into(), id.into()),
        ];
        assert_eq!(requests[2].form(), fields);
    }
}

#[test]
fn the_provider_is_asked_as_slowly_as_it_wants() {
    let count = Arc::new(AtomicUsize::new(0));
    let web = provider(move |path, _, response| {
        if path != "/token" {
            return response.into();
        }
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => error(400, "authorization_pending").into(),
            1 => error(400, "slow_down").into(),
            _ => response.into(),
        }
    });
    let home = home(&web.url(""));
    home.set("plugin", "deadline", "20");
    assert_eq!(sign_in(&home, "alice").verdict(), "accept");
    let asked: Vec<Instant> =
        web.requests().iter().filter(|request| request.path == "/token").map(|request| request.at).collect();
    assert_eq!(asked.len(), 3);
    let (first, second) = (asked[1] - asked[0], asked[2] - asked[1]);
    assert!(first >= Duration::from_millis(900) && second >= Duration::from_millis(5900) && first < second);
}

#[test]
fn a_look_that_fails_is_not_the_end() {
    let count = Arc::new(AtomicUsize::new(0));
    let web = provider(move |path, _, response| {
        let fails = matches!(path, "/token" | "/keys") && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if fails { Response::empty(503).into() } else { response.into() }
    });
    assert_eq!(sign_in(&home(&web.url("")), "alice").verdict(), "accept");
}

#[test]
fn what_nobody_answers_ends_in_time() {
    let web = provider(
        |path, _, response| {
            if path == "/token" { error(400, "authorization_pending").into() } else { response.into() }
        },
    );
    let home = home(&web.url(""));
    home.set("plugin", "deadline", "3");
    let answer = sign_in(&home, "alice");
    assert_eq!(answer.told(), UNANSWERED, "{answer:?}");
}

#[test]
fn hostile_names_are_sent_nowhere_and_match_nothing() {
    let long = "x".repeat(10_240);
    for user in ["me", "..", "x/../../admin?a=b", "alice\0", "аlice", "alice\u{200b}", "*", &long] {
        let web = provider(|_, _, response| response.into());
        let answer = sign_in(&home(&web.url("")), user);
        let expected =
            if user.contains(['\0', '\u{200b}']) || user.len() > 256 { "malformed_name" } else { "other_user" };
        assert_eq!(answer.code(), expected, "{user:.20}: {answer:?}");
        for request in web.requests() {
            assert!(!format!("{}{}", request.target, String::from_utf8_lossy(&request.body)).contains(user));
        }
    }
}

// -------------------------------------------------------------------------------------------------------------- doctor

#[test]
fn doctor_finds_out_what_keeps_a_provider_from_signing_in() {
    let Some(provider) = OidcProvider::start(60) else { return };
    let well = home(&provider.issuer).run(&["doctor", "oidc"], "").stdout;
    for text in [
        "the provider calls itself as plugin.ini does",
        "keys of the provider that can be used: 1",
        "this client may use the device flow",
    ] {
        assert!(well.contains(text), "{text}: {well}");
    }
    for (option, value, text) in [
        ("client_secret", "wrong", "the provider said invalid_client"),
        ("client_id", "nosuch", "the provider said invalid_client"),
        ("issuer", &provider.issuer.replace("127.0.0.1", "localhost"), "expected exactly"),
    ] {
        let home = home(&provider.issuer);
        home.set("oidc", option, value);
        let finished = home.run(&["doctor", "oidc"], "");
        assert_eq!(finished.status, Some(1));
        assert!(finished.stdout.contains(text), "{text}: {finished:?}");
    }
}
