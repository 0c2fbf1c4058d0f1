//! The inner parts of a verdict: `cargo bench`. What a whole verdict costs, and beside what, is for `bench/run`.

#![expect(clippy::unwrap_used, reason = "a bench ends where its set-up fails")]

use std::hint::black_box;
use std::path::Path;

use countersign::config::{Config, example, value::SecretRef};
use countersign::domain::authenticator::{Algorithm, Authenticator, AuthenticatorId, Mechanism, Standing, Totp};
use countersign::domain::claimant::{Claimant, Subscriber};
use countersign::domain::time::UnixTime;
use countersign::gateway::{Protocol, json::Native};
use countersign::otp::window::Verifier;
use countersign::otp::{base32, typed};
use countersign::secret::cookie::{Binding, Cookie, Progress, Slot};
use countersign::secret::keys::{self, Keys, Purpose};
use countersign::secret::seal::Sealer;
use countersign::store::sqlite::SqliteStore;
use countersign::store::{Counter, Credit, Origin, Store};
use countersign::{files, setup};
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: UnixTime = UnixTime(1_800_000_000);
const TOTP: Totp = Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 };
const REQUEST: &[u8] = br#"{"type":"authenticate","id":1,"session_id":"s1","protocol":"ssh","client_ip":"192.0.2.7","gateway_user":"alice","key_value_pairs":{"otp":"492039"}}"#;

fn pure(c: &mut Criterion) {
    let secret = base32::decode("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap();
    let verifier = Verifier::new(TOTP, &secret).unwrap();
    let right = verifier.code(verifier.step(NOW));
    c.bench_function("window: right code", |b| b.iter(|| verifier.find(black_box(&right), NOW, 1)));
    c.bench_function("window: wrong code, with the search for its offset", |b| {
        b.iter(|| verifier.find(black_box("000000"), NOW, 1))
    });
    c.bench_function("typed: six digits with a space", |b| b.iter(|| typed::code(black_box("492 039"), 6)));
    c.bench_function("json: read a request", |b| b.iter(|| Native.read(black_box(REQUEST))));
    let written = example::text().replace("\n;", "\n");
    c.bench_function("ini: every option written out", |b| {
        b.iter(|| Config::parse(Path::new("plugin.ini"), black_box(&written)).unwrap())
    });
}

fn sealed(c: &mut Criterion) {
    let place = std::env::temp_dir().join(format!("countersign-bench-{}", std::process::id()));
    files::create_private_directory(&place).unwrap();
    let key = place.join("key");
    files::create_private(&key, keys::generate().unwrap().expose().as_bytes()).unwrap();
    let sealer = Sealer::new(Keys::load(&SecretRef::File(key), ToOwned::to_owned).unwrap());
    let secret = sealer.seal(Purpose::Authenticator, &[b"alice"], &[7; 20]).unwrap();
    c.bench_function("seal: open a secret", |b| {
        b.iter(|| sealer.open(Purpose::Authenticator, &[b"alice"], black_box(&secret)).unwrap())
    });
    let cookie = Cookie { progress: Progress::Accepted, answered: 0, slot: Slot::None, expires: NOW, handle: None };
    let alice = Claimant("alice".into());
    let binding = Binding { session: Some("s1"), claimant: &alice, configuration: &[7; 16], errand: "" };
    c.bench_function("seal: a cookie", |b| b.iter(|| cookie.seal(&sealer, binding).unwrap()));

    let store = place.join("store");
    SqliteStore::create(&store, [0; 4]).unwrap();
    let config = Config::parse(Path::new("plugin.ini"), "").unwrap();
    let store = SqliteStore::open(&store, setup::limits(&config)).unwrap();
    let subscriber = Subscriber::canonical("alice");
    let origin = Origin { subscriber: subscriber.clone(), counter: Counter::Codes, source: Some("192.0.2.7".into()) };
    let id = AuthenticatorId("a".into());
    let authenticator = Authenticator {
        id: id.clone(),
        subscriber: subscriber.clone(),
        client: "totp".into(),
        label: "phone".into(),
        mechanism: Mechanism::Totp(TOTP),
        sealed: secret,
        last_step: None,
        created: NOW,
        last_used: None,
        standing: Standing::Active,
        is_default: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(store.add(&[authenticator])).unwrap();
    let mut step = 0;
    let mut verdict = |settle: bool| {
        step += 1;
        runtime.block_on(async {
            let mark = store.mark();
            store.charge(&origin, NOW).await.unwrap();
            store.authenticators(&subscriber, "totp").await.unwrap();
            store.consume_step(&subscriber, &id, step, NOW).await.unwrap();
            store.credit(&origin, Credit::Success).await.unwrap();
            if settle {
                store.settle(mark).await.unwrap();
            }
        });
    };
    c.bench_function("store: what an accept does, one of many in a commit", |b| b.iter(|| verdict(false)));
    c.bench_function("store: what an accept does, committed and synced", |b| b.iter(|| verdict(true)));
    std::fs::remove_dir_all(place).unwrap();
}

criterion_group!(benches, pure, sealed);
criterion_main!(benches);
