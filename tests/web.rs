//! That the web servers of the rig do what they say, and misbehave where they should: asked with plain sockets and rustls,
//! as nobody else here asks them.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use countersign::domain::fault::Reach;
use countersign::simulate::authority::provider;
use countersign::simulate::compress::{bomb, gzipped};
use flate2::read::GzDecoder;
use rig::PATIENCE;
use rig::authority::{Authority, Certificate, Validity};
use rig::faults::{Blackhole, Refused, faults};
use rig::http::{Ending, Request, Response};
use rig::web::{Misbehaviour, Reply, Signal, Web};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};
use serde::Deserialize;
use serde_json::json;

/// How long what never comes is waited for.
const MOMENT: Duration = Duration::from_millis(300);

fn connect(host: &str) -> TcpStream {
    let stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A request for `target` without a body.
fn get(web: &Web, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", web.host())
}

/// Everything that comes until the connection ends, and how it ends.
fn rest(stream: &mut impl Read) -> (String, Result<(), ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).map(drop).map_err(|error| error.kind());
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

/// What comes over a new connection for a request.
fn ask(web: &Web) -> (String, Result<(), ErrorKind>) {
    let mut stream = connect(&web.host());
    stream.write_all(get(web, "/").as_bytes()).unwrap();
    rest(&mut stream)
}

/// Reads a response whose length is told, and gives its body.
fn answer(stream: &mut impl Read) -> String {
    let mut text = String::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return body.to_owned();
            }
        }
    }
}

fn hello() -> Response {
    Response::new(200, "text/plain", "hello, world")
}

fn echo(request: &Request) -> Response {
    Response::new(200, "text/plain", request.target.clone())
}

// ------------------------------------------------------------------------------------------------------ requests

#[test]
fn requests_are_recorded_as_they_were_sent() {
    let web = Web::serve(echo);
    let (mut first, mut second) = (connect(&web.host()), connect(&web.host()));
    let host = web.host();
    let post = format!(
        "POST /a%2Fb?x=1&y=%C3%A9+z HTTP/1.1\r\nHOST: {host}\r\nX-Trace:  t \r\n\
         content-type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\nuser=a%40b+"
    );
    first.write_all(post.as_bytes()).unwrap();
    assert_eq!(answer(&mut first), "/a%2Fb?x=1&y=%C3%A9+z");
    second.write_all(get(&web, "/2").as_bytes()).unwrap();
    assert_eq!(answer(&mut second), "/2");
    first.write_all(get(&web, "/3").as_bytes()).unwrap();
    assert_eq!(answer(&mut first), "/3");

    let requests = web.wait_for(3);
    assert!(requests.is_sorted_by_key(|request| request.at));
    let order: Vec<_> = requests.iter().map(|request| (request.connection, request.path.as_str())).collect();
    let other = 1 - order[0].0;
    assert_eq!(order, [(1 - other, "/a%2Fb"), (other, "/2"), (1 - other, "/3")]);
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(
        (request.parameter("x"), request.parameter("y"), request.parameter("z")),
        (Some("1"), Some("é z"), None)
    );
    assert_eq!((request.header("x-trace"), request.header("Host")), (Some("t"), Some(host.as_str())));
    assert_eq!((request.field("user").as_deref(), request.body.len()), (Some("a@b "), 11));
    let seen = web.seen();
    assert_eq!((seen.connections, seen.open, seen.abandoned), (2, 2, 0));
    drop((first, second));
    web.wait_until(|seen| seen.open == 0);
}

#[test]
fn bodies_in_chunks_are_put_together_however_they_come() {
    let web = Web::serve(|request: &Request| Response::json(200, &request.json()));
    let mut stream = connect(&web.host());
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n",
        web.host()
    );
    for byte in format!("{head}1\r\n[\r\n00A\r\n1, 2, 3, 4\r\n1\r\n]\r\n0\r\n\r\n").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(answer(&mut stream), "[1,2,3,4]");
    stream.write_all(format!("{head}2\r\n[]\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(answer(&mut stream), "[]");
}

#[test]
fn what_a_client_gets_wrong_is_told() {
    let json = "Content-Type: application/json\r\n";
    for (request, complaint) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "no Host"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n".to_owned(), "and the port"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n".to_owned(), "host is there 2 times"),
        ("GET / HTTP/1.0\r\nHost: HOST\r\n\r\n".to_owned(), "the request line"),
        ("GET /a b HTTP/1.1\r\nHost: HOST\r\n\r\n".to_owned(), "the request line"),
        ("GET /a%2 HTTP/1.1\r\nHost: HOST\r\n\r\n".to_owned(), "escapes nothing"),
        ("GET /é HTTP/1.1\r\nHost: HOST\r\n\r\n".to_owned(), "want percent signs"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nX: é\r\n\r\n".to_owned(), "is not ASCII"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nX : 1\r\n\r\n".to_owned(), "the name of a header"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\n folded\r\n\r\n".to_owned(), "without a colon"),
        ("GET / HTTP/1.1\r\nHost: HOST\nX: 1\r\n\r\n".to_owned(), "control characters"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx".to_owned(), "a body"),
        ("POST / HTTP/1.1\r\nHost: HOST\r\n\r\n".to_owned(), "neither Content-Length nor chunks"),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\nx".to_owned(), "without Content-Type"),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +1\r\n\r\nx".to_owned(), "Content-Length [\"+1\"]"),
        (format!("POST / HTTP/1.1\r\nHost: HOST\r\n{json}Content-Length: 1\r\n\r\n1 "), "1 bytes follow"),
        (format!("POST / HTTP/1.1\r\nHost: HOST\r\n{json}Content-Length: 3\r\n\r\n1"), "2 bytes of a body are missing"),
        (format!("POST / HTTP/1.1\r\nHost: HOST\r\n{json}Content-Length: 1\r\n\r\n{{"), "the body is no JSON"),
        (
            "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4\r\n\r\na=b@"
                .to_owned(),
            "the body is no form",
        ),
        (
            "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nx".to_owned(),
            "and Transfer-Encoding",
        ),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\nx".to_owned(), "and Transfer-Encoding"),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx".to_owned(), "the size of a chunk"),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n".to_owned(), "longer than its size"),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n".to_owned(), "no end of the size"),
        ("GET / HTTP/1.1\r\nHost".to_owned(), "ends within a head"),
        ("\u{16}\u{3}\u{1}".to_owned(), "no HTTP"),
    ] {
        let web = Web::always(hello());
        let mut stream = connect(&web.host());
        stream.write_all(request.replace("HOST", &web.host()).as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = rest(&mut stream);
        let violations = web.violations();
        let first = violations.first().is_some_and(|violation| violation.contains(complaint));
        assert!(first, "{request:?}: {violations:?}");
    }
}

#[test]
#[should_panic(expected = "no Host")]
fn a_violation_that_nobody_asks_for_fails_the_test() {
    let web = Web::always(hello());
    connect(&web.host()).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    web.wait_for(1);
}

#[test]
fn a_handler_that_panics_is_told() {
    let web = Web::serve(|request: &Request| Response::json(200, &request.json()));
    let (answer, end) = ask_and_leave(&web);
    assert!(answer.starts_with("HTTP/1.1 500 ") && end.is_ok(), "{answer}");
    assert_eq!(web.violations(), ["the handler panicked"]);
}

fn ask_and_leave(web: &Web) -> (String, Result<(), ErrorKind>) {
    let mut stream = connect(&web.host());
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", web.host());
    stream.write_all(request.as_bytes()).unwrap();
    rest(&mut stream)
}

// ------------------------------------------------------------------------------------------------------- answers

#[test]
fn bodies_end_as_they_are_told_to() {
    for (ending, expected) in [
        (Ending::Length, "Content-Length: 12\r\n\r\nhello, world"),
        (Ending::Chunks, "Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n4\r\no, w\r\n4\r\norld\r\n0\r\n\r\n"),
        (Ending::Close, "Connection: close\r\n\r\nhello, world"),
    ] {
        let web = Web::always(hello().ending(ending).with("X-More", "1"));
        let expected = format!("HTTP/1.1 200 Told\r\nContent-Type: text/plain\r\nX-More: 1\r\n{expected}");
        assert_eq!(ask_and_leave(&web), (expected, Ok(())));
    }
}

#[test]
fn answers_wait_for_signals_and_for_time() {
    let signal = Signal::new();
    let web = Web::serve({
        let signal = signal.clone();
        move |request: &Request| match request.path.as_str() {
            "/signal" => Reply::after(&signal, hello()),
            _ => Reply::after(Duration::from_millis(50), Reply::after(&signal, hello())),
        }
    });
    let mut stream = connect(&web.host());
    let begin = Instant::now();
    for path in ["/signal", "/both"] {
        stream.write_all(get(&web, path).as_bytes()).unwrap();
        web.wait_until(|seen| seen.requests.iter().any(|request| request.path == path));
        if path == "/signal" {
            stream.set_read_timeout(Some(MOMENT)).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            signal.fire();
        }
        assert_eq!(answer(&mut stream), "hello, world");
    }
    assert!(begin.elapsed() >= MOMENT + Duration::from_millis(50));
}

#[test]
fn who_leaves_before_the_answer_is_seen() {
    let signal = Signal::new();
    let web = Web::always(Reply::after(&signal, hello()));
    let mut stream = connect(&web.host());
    stream.write_all(get(&web, "/").as_bytes()).unwrap();
    web.wait_for(1);
    assert_eq!((web.seen().abandoned, web.seen().open), (0, 1));
    drop(stream);
    web.wait_until(|seen| (seen.abandoned, seen.open) == (1, 0));
}

#[test]
fn two_thousand_connections_wait_at_once() {
    const COUNT: usize = 2000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * COUNT as u64 + 500;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        println!("skipped: too few files may be open here; raise `ulimit -Hn` to {wanted}");
        return;
    }
    let current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();

    let signal = Signal::new();
    let web = Web::serve({
        let signal = signal.clone();
        move |request: &Request| Reply::after(&signal, echo(request))
    });
    let mut streams: Vec<TcpStream> = (0..COUNT).map(|_| connect(&web.host())).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(get(&web, &format!("/{number}")).as_bytes()).unwrap();
    }
    web.wait_until(|seen| seen.requests.len() == COUNT && seen.open == COUNT);
    signal.fire();
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_eq!(answer(stream), format!("/{number}"));
    }
}

// -------------------------------------------------------------------------------------------------- misbehaviour

#[test]
fn nobody_listens_at_a_refused_port_and_nobody_else_gets_it() {
    let refused = Refused::new();
    assert_eq!(TcpStream::connect(refused.host()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(TcpListener::bind(refused.host()).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(TcpStream::connect(refused.host()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn no_connection_to_a_blackhole_comes_about() {
    let blackhole = Blackhole::new();
    let address = blackhole.host().parse().unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // The system tries once more after a second.
                let error = TcpStream::connect_timeout(&address, Duration::from_millis(2500)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            });
        }
    });
}

#[test]
fn doors_are_silent_or_closed() {
    for web in [Web::silent(), Web::always(Misbehaviour::Silence)] {
        let mut stream = connect(&web.host());
        stream.write_all(get(&web, "/").as_bytes()).unwrap();
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(web.seen().open, 1);
        drop(stream);
        web.wait_until(|seen| seen.open == 0);
    }
    assert_eq!(rest(&mut connect(&Web::closing().host())), (String::new(), Ok(())));
    let web = Web::resetting();
    assert_eq!(ask(&web), (String::new(), Err(ErrorKind::ConnectionReset)));
    assert_eq!(web.requests().len(), 0);
    assert_eq!(ask(&Web::always(Misbehaviour::Close)), (String::new(), Ok(())));
    assert_eq!(ask(&Web::always(Misbehaviour::Reset)), (String::new(), Err(ErrorKind::ConnectionReset)));
}

#[test]
fn answers_are_cut_where_they_should_be() {
    let head =
        |length: usize| format!("HTTP/1.1 200 Told\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    let chunked =
        "HTTP/1.1 200 Told\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n4\r\no";
    for (misbehaviour, expected) in [
        (Misbehaviour::HalfHead(hello()), head(12)[..33].to_owned()),
        (Misbehaviour::HalfBody(hello()), head(12) + "hello,"),
        (Misbehaviour::HalfBody(hello().ending(Ending::Chunks)), chunked.to_owned() + ", w"),
        (Misbehaviour::LengthTooLong(hello()), head(1012) + "hello, world"),
        (Misbehaviour::LengthTooShort(hello()), head(6) + "hello, world"),
        (Misbehaviour::Raw(b"\0raw".to_vec()), "\0raw".to_owned()),
    ] {
        assert_eq!(ask(&Web::always(misbehaviour.clone())), (expected, Ok(())), "{misbehaviour:?}");
    }
}

#[test]
fn drips_come_byte_by_byte_and_never_end() {
    for (misbehaviour, byte) in [(Misbehaviour::DripHead as fn(_) -> _, b'a'), (Misbehaviour::DripBody, b' ')] {
        let web = Web::always(misbehaviour(Duration::from_millis(2)));
        let mut stream = connect(&web.host());
        stream.write_all(get(&web, "/").as_bytes()).unwrap();
        web.wait_until(|seen| seen.taken >= 50);
        let mut text = vec![0; 90];
        stream.read_exact(&mut text).unwrap();
        assert_eq!((text[89], text.windows(4).any(|window| window == b"\r\n\r\n")), (byte, byte == b' '));
        drop(stream);
        web.wait_until(|seen| (seen.abandoned, seen.open) == (1, 0));
    }
}

#[test]
fn huge_bodies_are_as_long_as_they_say_and_stop_with_their_client() {
    for ending in [Ending::Length, Ending::Chunks] {
        let body = Misbehaviour::Huge(hello().ending(ending), 3_000_000);
        let (text, end) = ask(&Web::always(body));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.contains("Content-Length: 3000000"), end), (ending == Ending::Length, Ok(())));
        assert_eq!(body.bytes().filter(|byte| *byte == b' ').count(), 3_000_000 - "hello,world".len());
        assert_eq!(body.ends_with("\r\n0\r\n\r\n"), ending == Ending::Chunks);

        let web = Web::always(Misbehaviour::Huge(hello().ending(ending), 1 << 30));
        let mut stream = connect(&web.host());
        stream.write_all(get(&web, "/").as_bytes()).unwrap();
        stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
        drop(stream);
        let taken = web.wait_until(|seen| seen.abandoned == 1).taken;
        assert!((1 << 20..1 << 26).contains(&taken), "{taken}");
    }
}

#[test]
fn bombs_are_small_and_true() {
    let (small, large) = (gzipped(&hello()).unwrap(), bomb(&hello()).unwrap());
    assert!(small.body.len() < 100 && large.body.len() < 256 * 1024, "{} and {}", small.body.len(), large.body.len());
    assert_eq!(large.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    GzDecoder::new(&small.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello, world");
    let length = io::copy(&mut GzDecoder::new(&large.body[..]), &mut io::sink()).unwrap();
    assert_eq!(length, 12 + (128 << 20));
}

// ----------------------------------------------------------------------------------------------------------- TLS

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A TLS session with `host`, once its handshake is done.
fn handshake(host: &str, authority: &Authority, client: Option<&Certificate>, limit: Duration) -> io::Result<Tls> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(authority.roots());
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key()).unwrap(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream =
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), TcpStream::connect(host)?);
    stream.sock.set_read_timeout(Some(limit))?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Why no TLS session with `web` comes about, in the words of rustls.
fn refusal(web: &Web, authority: &Authority) -> rustls::Error {
    let error = handshake(&web.host(), authority, None, PATIENCE).map(drop).unwrap_err();
    error.into_inner().unwrap().downcast_ref::<rustls::Error>().unwrap().clone()
}

#[test]
fn certificates_are_good_or_bad_as_they_were_ordered() {
    let authority = Authority::new();
    let good = Web::always_tls(&authority.certificate(&["127.0.0.1"], Validity::Valid), hello());
    let mut stream = handshake(&good.host(), &authority, None, PATIENCE).unwrap();
    stream.write_all(get(&good, "/").as_bytes()).unwrap();
    assert_eq!(answer(&mut stream), "hello, world");
    assert!(good.url("/x").starts_with("https://127.0.0.1:"));

    type Right = fn(&CertificateError) -> bool;
    let bad: [(Certificate, Right); 5] = [
        (authority.certificate(&["127.0.0.1"], Validity::Expired), |error| {
            matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. })
        }),
        (authority.certificate(&["127.0.0.1"], Validity::NotYetValid), |error| {
            matches!(error, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
        }),
        (authority.certificate(&["192.0.2.1", "a.example"], Validity::Valid), |error| {
            matches!(error, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
        }),
        (authority.self_signed(&["127.0.0.1"]), |error| matches!(error, CertificateError::UnknownIssuer)),
        (Authority::new().certificate(&["127.0.0.1"], Validity::Valid), |error| {
            matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature)
        }),
    ];
    for (certificate, right) in bad {
        let web = Web::always_tls(&certificate, hello());
        let error = refusal(&web, &authority);
        assert!(matches!(&error, rustls::Error::InvalidCertificate(error) if right(error)), "{error:?}");
        web.wait_until(|seen| seen.handshake_failures.len() == 1 && seen.open == 0);
    }
}

#[test]
fn only_clients_with_a_certificate_come_in_where_one_is_wanted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Valid);
    let web = Web::serve_mutual_tls(&certificate, &authority, |_: &Request| hello());
    let client = authority.client_certificate("gateway");
    let mut stream = handshake(&web.host(), &authority, Some(&client), PATIENCE).unwrap();
    stream.write_all(get(&web, "/").as_bytes()).unwrap();
    assert_eq!(answer(&mut stream), "hello, world");
    assert_eq!(web.requests()[0].client_certificate.as_deref(), Some(client.chain[0].as_ref()));

    for client in [None, Some(stranger.client_certificate("gateway")), Some(certificate)] {
        // TLS 1.3 has it that the client is done before it is refused.
        let mut stream = handshake(&web.host(), &authority, client.as_ref(), PATIENCE).unwrap();
        let _ = stream.write_all(get(&web, "/").as_bytes());
        let error = stream.read(&mut [0]).unwrap_err();
        assert!(error.to_string().contains("received fatal alert"), "{error}");
    }
    assert_eq!(web.wait_until(|seen| seen.handshake_failures.len() == 3).requests.len(), 1);
}

#[test]
fn tls_and_plain_http_do_not_understand_each_other() {
    let authority = Authority::new();
    let plain = Web::always(hello());
    assert!(matches!(refusal(&plain, &authority), rustls::Error::InvalidMessage(_)));
    let violations = plain.violations();
    assert!(violations.len() == 1 && violations[0].starts_with("no HTTP"), "{violations:?}");

    let tls = Web::always_tls(&authority.certificate(&["127.0.0.1"], Validity::Valid), hello());
    let (text, end) = ask(&tls);
    assert!(text.starts_with("\u{15}\u{3}") && end.is_ok(), "{text:?}");
    assert_eq!((tls.requests().len(), tls.seen().handshake_failures.len()), (0, 1));

    let silent = Web::silent();
    let error = handshake(&silent.host(), &authority, None, MOMENT).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn tls_sessions_are_reset_and_cut_too() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Valid);
    for (misbehaviour, expected) in [
        (Misbehaviour::Reset, (String::new(), Err(ErrorKind::ConnectionReset))),
        (Misbehaviour::Close, (String::new(), Ok(()))),
        (Misbehaviour::Raw(b"HTTP/1.1 200".to_vec()), ("HTTP/1.1 200".to_owned(), Ok(()))),
    ] {
        let web = Web::always_tls(&certificate, misbehaviour);
        let mut stream = handshake(&web.host(), &authority, None, PATIENCE).unwrap();
        stream.write_all(get(&web, "/").as_bytes()).unwrap();
        assert_eq!(rest(&mut stream), expected);
    }
}

#[test]
fn pins_are_what_openssl_says() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Valid);
    let pipeline = "openssl x509 -in \"$1\" -noout -pubkey | openssl pkey -pubin -outform der | \
                    openssl dgst -sha256 -binary | openssl base64 && openssl verify -CAfile \"$2\" \"$1\" && \
                    openssl x509 -in \"$1\" -noout -pubkey | cmp - <(openssl pkey -in \"$3\" -pubout)";
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: install openssl");
        return;
    }
    let output = Command::new("bash")
        .args(["-c", pipeline, "bash"])
        .args([&certificate.certificate_file, &authority.ca_file(), &certificate.key_file])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("{}\n{}: OK\n", certificate.pin, certificate.certificate_file.display()));
    assert!(output.status.success());
}

// ----------------------------------------------------------------------------------------------------- the table

const CAP: usize = 256 * 1024;

/// What would let somebody in, to the letter.
#[derive(Deserialize)]
struct Body {
    result: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    value: bool,
}

/// What a careful client says of `url`: a class and how far the request came, or accept.
fn client(url: &str, authority: &Authority) -> (&'static str, &'static str) {
    const LIMIT: Duration = Duration::from_secs(4);
    let (scheme, host) = url.split_once("://").unwrap();
    let tcp = host
        .to_socket_addrs()
        .or_else(|_| format!("{host}:80").to_socket_addrs())
        .and_then(|mut addresses| TcpStream::connect_timeout(&addresses.next().unwrap(), LIMIT));
    if tcp.is_err() {
        return ("service_unreachable", "not_sent");
    }
    let alien = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    let lost = |error: &io::Error| (if alien(error) { "communication_error" } else { "service_unreachable" }, "sent");
    let mut stream: Box<dyn ReadWrite> = if scheme == "https" {
        match handshake(host, authority, None, LIMIT) {
            Ok(stream) => Box::new(stream),
            Err(error) => return lost(&error),
        }
    } else {
        let stream = connect(host);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Box::new(stream)
    };
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    let (begin, mut bytes, mut end) = (Instant::now(), Vec::new(), Ok(()));
    while bytes.len() <= CAP + 1000 {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend(&piece[..count]),
            Err(error) => {
                end = Err(error);
                break;
            }
        }
        if begin.elapsed() > LIMIT {
            return ("service_unreachable", "sent");
        }
        if whole(&bytes).is_some() {
            break;
        }
    }
    let Some((head, _)) = split(&bytes) else {
        let alien = !bytes.is_empty() && (!bytes.starts_with(b"HTTP/1.1 ") || bytes.len() > CAP);
        return if alien {
            ("communication_error", "sent")
        } else {
            lost(&end.err().unwrap_or_else(|| io::Error::other("")))
        };
    };
    if head.len() > 64 * 1024 || head.lines().count() > 100 {
        return ("communication_error", "sent");
    }
    match head.split(' ').nth(1).unwrap() {
        "200" => {}
        "502" | "503" | "504" => return ("service_unreachable", "answered"),
        _ => return ("communication_error", "answered"),
    }
    let is_json = head.lines().any(|line| line.starts_with("Content-Type: application/json"));
    let odd =
        !is_json || head.contains("Content-Encoding") || (head.contains("charset=") && !head.contains("charset=utf-8"));
    let body = whole(&bytes).filter(|body| !odd && body.len() <= CAP);
    let text = body.and_then(|body| String::from_utf8(body).ok()).filter(|text| text.starts_with('{'));
    match text.and_then(|text| serde_json::from_str::<Body>(&text).ok()) {
        Some(Body { result: Verdict { value: true } }) => ("accept", "answered"),
        Some(Body { result: Verdict { value: false } }) | None => ("communication_error", "answered"),
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

fn split(bytes: &[u8]) -> Option<(String, &[u8])> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&bytes[..at]).into_owned(), &bytes[at + 4..]))
}

/// The body of a response that is complete.
fn whole(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = split(bytes)?;
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")) {
        return rest.get(..length.parse().unwrap()).map(<[u8]>::to_vec);
    }
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16).unwrap();
        if size == 0 {
            return Some(body);
        }
        body.extend(rest.get(at + 2..at + 2 + size)?);
        rest = rest.get(at + 4 + size..)?;
    }
}

fn word(reach: Reach) -> &'static str {
    match reach {
        Reach::NotSent => "not_sent",
        Reach::Sent => "sent",
        Reach::Answered => "answered",
    }
}

/// Asks all places of the table at once.
fn ask_all(scheme: &str, tls: Option<&Authority>, authority: &Authority) {
    let accept = Response::json(200, &json!({"result": {"status": true, "value": true}, "detail": null}));
    let table = faults(tls, &accept);
    thread::scope(|scope| {
        for place in &table {
            let (fault, url) = (place.fault, &place.url);
            assert!(url.starts_with(&format!("{scheme}://")), "{}: {url}", fault.name);
            let expected = (fault.class.word(), word(fault.reach));
            scope.spawn(move || assert_eq!(client(url, authority), expected, "{scheme}: {} at {url}", fault.name));
        }
    });
    assert!(table.iter().all(|place| place.counts().elsewhere == 0));
    let huge = table.iter().filter(|place| place.fault.name.starts_with("huge-"));
    let taken: Vec<u64> = huge.map(|place| place.wait_until(|counts| counts.open == 0).taken).collect();
    assert!(taken.len() == 2 && taken.iter().all(|taken| (100_000..50_000_000).contains(taken)), "{taken:?}");

    let web = match tls {
        Some(authority) => Web::always_tls(&authority.certificate(&["127.0.0.1"], Validity::Valid), accept),
        None => Web::always(accept),
    };
    assert_eq!(client(&web.url(""), authority), ("accept", "answered"));
}

#[test]
fn a_careful_client_tells_all_faults_apart_over_tls() {
    let authority = Authority::new();
    ask_all("https", Some(&authority), &authority);
}

#[test]
fn a_careful_client_tells_all_faults_apart_over_plain_tcp() {
    ask_all("http", None, &Authority::new());
}

#[test]
fn services_that_do_not_speak_json_have_their_faults_too() {
    let table = faults(None, &Response::new(200, "text/plain", "h=abc\r\nstatus=OK\r\n"));
    assert!(table.iter().any(|place| place.fault.name == "invalid-utf-8"));
    assert!(table.iter().all(|place| place.fault.name != "keys-twice"));
}
