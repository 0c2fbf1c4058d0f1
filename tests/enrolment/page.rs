//! The page for whoever enrols, as a browser shows it.

use std::fs;
use std::path::PathBuf;

use super::browser::{EYES, Scheme, document, picture, scan};
use super::rig::Home;
use super::{Pending, are_there, enroll, refused};

/// A pending enrolment of `user`, and its page.
fn page_of(home: &Home, user: &str, more: &[&str]) -> (Pending, PathBuf) {
    let path = home.dir().join("page.html");
    let _ = fs::remove_file(&path);
    let arguments: Vec<&str> = [user, "--page", path.to_str().unwrap()].iter().chain(more).copied().collect();
    (enroll(home, &arguments), path)
}

#[test]
fn a_phone_reads_the_page_in_both_schemes_and_at_the_width_of_a_phone() {
    if !are_there(EYES) {
        return;
    }
    let home = Home::init();
    let (pending, page) = page_of(&home, "alice@example.com", &[]);
    // A window of the browser is wider than a phone; a frame in it is not.
    let phone = home.dir().join("phone.html");
    fs::write(&phone, "<body style='margin:0'><iframe src='page.html' width=360 height=1500 style='border:0'>")
        .unwrap();
    for (path, width) in [(&page, 1000), (&phone, 600)] {
        for scheme in [Scheme::Light, Scheme::Dark] {
            let shown = picture(&home, path, scheme, width, 1500);
            assert_eq!(scan(&shown), [pending.uri.as_str()], "{width} {scheme:?}");
        }
    }
}

#[test]
fn the_two_schemes_look_different_unless_plugin_ini_says_one() {
    if !are_there(EYES) {
        return;
    }
    let home = Home::init();
    let look = |page: &PathBuf, scheme| fs::read(picture(&home, page, scheme, 800, 400)).unwrap();
    let (_, page) = page_of(&home, "alice", &[]);
    assert!(look(&page, Scheme::Light) != look(&page, Scheme::Dark));
    home.append("[page]\nbackground = #fdf6e3\n");
    let (_, page) = page_of(&home, "alice", &[]);
    assert!(look(&page, Scheme::Light) == look(&page, Scheme::Dark), "one background, one scheme");
    assert!(fs::read_to_string(&page).unwrap().contains("--background:#fdf6e3;"));
}

#[test]
fn the_script_of_the_page_runs_and_no_other_does() {
    if !are_there(EYES) {
        return;
    }
    let home = Home::init();
    let (_, page) = page_of(&home, "alice", &[]);
    let text = fs::read_to_string(&page).unwrap();
    let button = "data-copies=\"secret\" data-says=\"said\"";
    assert!(text.contains(&format!("hidden {button}")), "without a script there is no button");
    let shown = document(&home, &page);
    assert!(shown.contains(button) && !shown.contains(&format!("hidden=\"\" {button}")), "{shown}");

    let foreign = "<script>document.title = 'foreign'</script><img src=x onerror=\"document.title = 'foreign'\">";
    fs::write(&page, text.replace("<main>", &format!("{foreign}<main>"))).unwrap();
    let shown = document(&home, &page);
    assert!(shown.contains("<title>Set up your second factor"), "a script ran that is not the page's");
    fs::write(&page, text.replace("<main>", &format!("{foreign}<main>")).replace("Content-Security-Policy", "x"))
        .unwrap();
    assert!(document(&home, &page).contains("<title>foreign</title>"), "the policy is what stops it");
}

#[test]
fn the_page_fetches_nothing() {
    let home = Home::init();
    let (_, page) = page_of(&home, "alice", &[]);
    let text = fs::read_to_string(&page).unwrap();
    let (_, policy) = text.split_once("http-equiv=\"Content-Security-Policy\" content=\"").unwrap();
    assert!(policy.starts_with("default-src &#39;none&#39;; img-src data:; "), "{policy}");
    for fetcher in ["http://", "https://", "url(", "@import", "<link", "<iframe", "<object", "<form", " src="] {
        let found = text.replace("http://www.w3.org/2000/svg", "").contains(fetcher);
        assert!(!found, "{fetcher}");
    }
    assert!(text.contains("<html lang=\"en\">") && text.contains("role=\"img\" aria-label=\"QR code\""));
}

#[test]
fn names_and_labels_stay_text() {
    let home = Home::init();
    home.set("totp", "issuer", "</title><script>document.title='x'</script>&amp;{{uri}}");
    home.append("[page]\ntitle = <img src=x onerror=alert(1)>\nnotes = \" autofocus onfocus=alert(1) x='\n");
    let user = "\"><script>alert(1)</script><b x='";
    let (pending, page) = page_of(&home, user, &["--label", "<u>&lt;{{secret}}</u>"]);
    let text = fs::read_to_string(&page).unwrap();
    let body = text.split_once("</style>\n</head>").unwrap().1.split_once("<script>\"use strict\"").unwrap().0;
    for tag in ["<script", "<img", "<b ", "<u>", "<title", "onerror=\"", "onfocus=\""] {
        assert!(!body.contains(tag), "{tag}");
    }
    for shown in [
        "<dd>&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;b x=&#39;</dd>".to_owned(),
        "<dd>&lt;/title&gt;&lt;script&gt;document.title=&#39;x&#39;&lt;/script&gt;&amp;amp;{{uri}}</dd>".to_owned(),
        "<dd>&lt;u&gt;&amp;lt;{{secret}}&lt;/u&gt;</dd>".to_owned(),
        "<h1>&lt;img src=x onerror=alert(1)&gt;</h1>".to_owned(),
        format!("href=\"{}\"", pending.uri.replace('&', "&amp;")),
    ] {
        assert!(text.contains(&shown), "{shown}");
    }
}

#[test]
fn a_template_of_one_s_own_stands_in_for_the_page() {
    let home = Home::init();
    home.set_clock(super::NOW);
    home.append("[page]\ntemplate = own.html\nlink = red | #0f0\n");
    let template = home.dir().join("own.html");
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"{{content_security_policy}}\">";
    let body = "{{style}}{{#recovery_codes}}some{{/recovery_codes}}{{^recovery_codes}}none{{/recovery_codes}}\n\
                {{user}}|{{account}}|{{label}}|{{digits}}|{{period}}|{{algorithm}}|{{expires}}|{{expires_iso}}|{{ secret_plain }}";
    fs::write(&template, format!("{policy}{body}")).unwrap();
    let (pending, page) = page_of(&home, "Alice", &["--label", "phone"]);
    let text = fs::read_to_string(page).unwrap();
    let (head, line) = text.split_once('\n').unwrap();
    assert!(head.ends_with("some") && head.contains("--link:#ff0000;") && head.contains("--link:#00ff00;"), "{head}");
    let secret = &pending.secret;
    assert_eq!(line, format!("alice|Alice|phone|6|30|SHA1|2027-01-15 08:15:15 UTC|2027-01-15T08:15:15Z|{secret}"));

    for (content, told) in [
        (format!("{policy}\n\n{{{{sercet}}}}"), "line 3: {{sercet}} is no placeholder; did you mean secret?"),
        (format!("{policy}{{{{#qr}}}}"), "{{/qr}} is missing at the end"),
        ("<p>{{secret}}</p>".into(), "lets the page fetch what it likes; put first into <head>: <meta "),
        (format!("{{{{#qr}}}}{policy}{{{{/qr}}}}"), "lets the page fetch what it likes"),
    ] {
        fs::write(&template, content).unwrap();
        let done = home.run(&["enroll", "bob", "--page", "other.html"], "");
        let line = refused(&done, 78);
        assert!(line.contains("[page] template: ") && line.contains(told), "{line}");
    }
    fs::remove_file(&template).unwrap();
    assert!(refused(&home.run(&["enroll", "bob", "--page", "other.html"], ""), 78).contains("own.html"));
    assert!(!std::path::Path::new("other.html").exists());
}
