use super::{read as read_at, *};

const SECRET: &[u8] = b"12345678901234567890";
const PRE_SHARED: &str = "12345678901234567890123456789012";

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pskc/", $name))
    };
}

/// 2026-01-01T12:00:15Z.
const NOW: UnixTime = UnixTime(1_767_268_815);

fn read(document: &str, key: Option<&Secret<String>>) -> Result<Reading, String> {
    read_at(document, key, NOW)
}

fn key(text: &str) -> Option<Secret<String>> {
    Some(Secret::new(text.to_owned()))
}

/// What was found, in words, with the secret's length.
fn told(reading: &Reading) -> Vec<String> {
    let words = reading.found.iter().map(|one| {
        let what = match &one.what {
            What::Totp { totp: Totp { algorithm, digits, period }, secret } => {
                format!("totp {} {digits} {period} {}", algorithm.name(), secret.expose().len())
            }
            What::Hotp { hotp: Hotp { algorithm, digits }, secret } => {
                format!("hotp {} {digits} {}", algorithm.name(), secret.expose().len())
            }
            other @ (What::RecoveryCodes(_) | What::RecoveryHashes(_)) => panic!("{other:?}"),
        };
        format!("{} {} {what} {:?}", one.user.as_deref().unwrap(), one.label.as_deref().unwrap(), one.used)
    });
    words.collect()
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    for (text, given, expected) in [
        (data!("rfc6030-figure2.xml"), None, "jsmith 987654321 hotp SHA1 8 20 Nothing"),
        (data!("rfc6030-figure6.xml"), key(PRE_SHARED), "987654321 987654321 hotp SHA1 8 20 Nothing"),
        (data!("rfc6030-figure7.xml"), key("qwerty\n"), "987654321 987654321 hotp SHA1 8 20 Nothing"),
    ] {
        let reading = read(text, given.as_ref()).unwrap();
        assert_eq!(told(&reading), [expected]);
        assert!(reading.flaws.is_empty());
        let Some(Incoming { what: What::Hotp { secret, .. }, .. }) = reading.found.first() else { panic!() };
        assert_eq!(secret.expose().as_slice(), SECRET);
    }
}

#[test]
fn an_export_of_privacyidea_is_read() {
    let reading = read(data!("privacyidea.xml"), key("00112233445566778899AABBCCDDEEFF").as_ref()).unwrap();
    let mut told = told(&reading);
    told.sort();
    assert_eq!(
        told,
        [
            "OATH0001A2B3 OATH0001A2B3 hotp SHA1 6 20 UpTo(2)",
            "TOTP0002C4D5 TOTP0002C4D5 totp SHA256 8 60 32 Nothing",
            "TOTP0003E6F7 TOTP0003E6F7 totp SHA1 6 30 20 UpTo(55000000)",
        ]
    );
    assert_eq!(
        reading.passed,
        ["key PW0004: passed over: the algorithm urn:ietf:params:xml:ns:keyprov:pskc:pw is neither hotp nor totp"]
    );
    assert_eq!(reading.remarks, ["key TOTP0003E6F7: its clock is off by 25.0, which is not taken over"]);
}

#[test]
fn a_wrong_key_is_one_error_and_a_changed_secret_another() {
    let sealed = data!("rfc6030-figure6.xml");
    let error = |text: &str, given: Option<Secret<String>>| read(text, given.as_ref()).unwrap_err();
    assert!(error(sealed, None).ends_with("--key-file FILE"));
    assert!(error(sealed, key("CANARY")).contains("does not hold 16 bytes"));
    assert!(error(sealed, key("00000000000000000000000000000000")).starts_with("the key is not that of this file"));
    assert!(error(data!("rfc6030-figure7.xml"), key("QWERTY")).starts_with("the key is not that of this file"));
    // One changed character of a MAC or of a ciphertext.
    let changed = sealed.replace("Su+NvtQ", "Su+NvtR");
    assert!(error(&changed, key(PRE_SHARED)).contains("the MAC fits none of its secrets"));
    let export = data!("privacyidea.xml");
    let at = export.rfind("<valuemac>").unwrap() + "<valuemac>".len();
    let other = if export.as_bytes()[at] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &export[..at], &export[at + 1..]);
    let reading = read(&changed, key("00112233445566778899aabbccddeeff").as_ref()).unwrap();
    assert_eq!(reading.flaws.len(), 1);
    assert!(reading.flaws[0].what.starts_with("the MAC does not fit the secret"), "{:?}", reading.flaws);
}

#[test]
fn every_other_flaw_is_told_with_its_place() {
    let plain = data!("rfc6030-figure2.xml");
    for (from, to, expected) in [
        ("Length=\"8\"", "Length=\"9\"", "codes of \"9\" digits"),
        ("DECIMAL", "HEXADECIMAL", "codes in the encoding HEXADECIMAL"),
        ("<PlainValue>0", "<PlainValue>x", "the counter is not a number"),
        ("MTIz", "M*Iz", "what should be base64 is not"),
        ("<AlgorithmParameters>", "<AlgorithmParameters><Suite>HMAC-MD5</Suite>", "unknown algorithm HMAC-MD5"),
        ("DECIMAL\"", "DECIMAL\" CheckDigits=\"true\"", "its codes end with a check digit"),
        ("</Secret>", "</Secret><Time><EncryptedValue/></Time>", "its <Time> is encrypted; export it again"),
        ("<PlainValue>0</PlainValue>", "<EncryptedValue/>", "its <Counter> is encrypted; export it again"),
    ] {
        assert!(plain.contains(from), "{from}");
        let flaws = read(&plain.replace(from, to), None).unwrap().flaws;
        assert!(flaws.len() == 1 && flaws[0].what.starts_with(expected), "{from}: {flaws:?}");
        assert_eq!(flaws[0].place, "key 987654321");
    }
    for text in
        ["", "CANARY", "<a/>", "<KeyContainer/>", "<!DOCTYPE x [<!ENTITY a \"b\">]><KeyContainer>&a;</KeyContainer>"]
    {
        let told = read(text, None).unwrap_err();
        assert!(!told.contains("CANARY"), "{told}");
    }
    let weaker = data!("rfc6030-figure6.xml").replace("#aes128-cbc", "#tripledes-cbc");
    assert!(read(&weaker, key(PRE_SHARED).as_ref()).unwrap_err().contains("expected aes128-cbc"));
}

#[test]
fn a_policy_is_heeded_or_its_key_is_not_taken() {
    let with = |policy: &str| {
        let text = data!("rfc6030-figure2.xml").replace("</Data>", &format!("</Data><Policy>{policy}</Policy>"));
        read(&text, None).unwrap()
    };
    for policy in [
        "",
        "<StartDate>2026-01-01T12:00:15Z</StartDate><ExpiryDate>2026-01-01T12:00:16Z</ExpiryDate>",
        "<PINPolicy PINUsageMode=\"Local\"/>",
        "<KeyUsage>CR</KeyUsage><KeyUsage>OTP</KeyUsage>",
    ] {
        assert_eq!((with(policy).found.len(), with(policy).flaws.len()), (1, 0), "{policy}");
    }
    for (policy, expected) in [
        ("<StartDate>2026-01-01T12:00:16Z</StartDate>", "its policy lets it be used from 2026-01-01T12:00:16Z on"),
        ("<ExpiryDate>2026-01-01T12:00:15Z</ExpiryDate>", "it expired at 2026-01-01T12:00:15Z; let its user have"),
        ("<ExpiryDate>2030-12-31T00:00:00+02:00</ExpiryDate>", "<ExpiryDate> 2030-12-31T00:00:00+02:00: expected"),
        ("<PINPolicy PINUsageMode=\"Append\"/>", "its <PINPolicy> wants a PIN (PINUsageMode Append)"),
        ("<PINPolicy PINUsageMode=\"Prepend\"/>", "its <PINPolicy> wants a PIN (PINUsageMode Prepend)"),
        ("<PINPolicy/>", "its <PINPolicy> wants a PIN (PINUsageMode not said)"),
        ("<KeyUsage>CR</KeyUsage>", "its <KeyUsage> is not OTP"),
        ("<NumberOfTransactions>9</NumberOfTransactions>", "<NumberOfTransactions> in its <Policy> is not heeded"),
    ] {
        let flaws = with(policy).flaws;
        assert!(flaws.len() == 1 && flaws[0].what.starts_with(expected), "{policy}: {flaws:?}");
    }
}

#[test]
fn an_empty_package_is_a_flaw() {
    let text = data!("rfc6030-figure2.xml").replace("</KeyContainer>", "<KeyPackage/></KeyContainer>");
    let reading = read(&text, None).unwrap();
    assert_eq!((reading.found.len(), reading.flaws[0].place.as_str()), (1, "package 2"));
}

#[test]
fn a_plain_secret_is_refused_where_a_key_or_a_mac_vouches() {
    let plain = data!("rfc6030-figure2.xml");
    let package = &plain[plain.find("<KeyPackage>").unwrap()..plain.find("</KeyContainer>").unwrap()];
    let sealed = data!("rfc6030-figure6.xml").replace("</KeyContainer>", &format!("{package}</KeyContainer>"));
    let reading = read(&sealed, key(PRE_SHARED).as_ref()).unwrap();
    assert_eq!((reading.found.len(), reading.flaws.len()), (1, 1));
    let mac = plain.replacen("<KeyPackage>", "<MACMethod Algorithm=\"x\"/><KeyPackage>", 1);
    for reading in [reading, read(plain, key(PRE_SHARED).as_ref()).unwrap(), read(&mac, None).unwrap()] {
        assert!(reading.flaws[0].what.starts_with("the secret is in plain text"), "{:?}", reading.flaws);
    }
}
