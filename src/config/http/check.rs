//! What the options of a service say together: whether its steps can work, and whether one of them would accept what it
//! should not.

mod auth;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use super::super::ini::Section;
use super::super::mistake::{Mistakes, suggestion};
use super::capture::{Capture, Class};
use super::request::Target;
use super::template::Template;
use super::{AuthKind, HttpService, ResponseForm, Step, StepName};

/// What stands for a value that is known before anything was asked.
pub const KNOWN: [&str; 16] = [
    "user",
    "otp",
    "uuid",
    "nonce",
    "client_ip",
    "protocol",
    "target",
    "session_id",
    "connection_name",
    "gateway_user",
    "gateway_groups",
    "server_ip",
    "server_port",
    "server_hostname",
    "server_username",
    "server_domain",
];

/// Notes what does not go together.
pub fn check(service: &HttpService, main: &Section, sections: &BTreeMap<StepName, &Section>, mistakes: &mut Mistakes) {
    auth::check(service, main, mistakes);
    let mut check = Check { service, main, sections, mistakes };
    let decides = service.response == ResponseForm::Verdict;
    if decides {
        check.verdict_steps();
    } else {
        check.steps();
    }
    for (name, step) in &service.steps {
        if decides {
            check.verdict_rules(*name, step);
        } else {
            check.rules(*name, step);
        }
        check.headers(*name, step);
        check.body(*name, step);
        check.placeholders(*name, step);
        check.captures(*name, step);
    }
}

/// Where an option stands, or its section.
fn line(section: &Section, option: &str) -> usize {
    section.entries.iter().find(|entry| entry.name == option).map_or(section.line, |entry| entry.line)
}

#[derive(Clone, Copy)]
enum Use {
    Must,
    May,
    No,
}

/// Where a placeholder stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Header,
    Body,
    Echo,
    Show,
}

struct Check<'a> {
    service: &'a HttpService,
    main: &'a Section,
    sections: &'a BTreeMap<StepName, &'a Section>,
    mistakes: &'a mut Mistakes,
}

impl Check<'_> {
    fn note(&mut self, step: StepName, option: &str, text: &str) {
        if let Some(section) = self.sections.get(&step) {
            self.mistakes.at_option(line(section, option), &section.name, option, text);
        }
    }

    fn has(&self, step: StepName) -> bool {
        self.service.steps.contains_key(&step)
    }

    /// Which steps need others.
    fn steps(&mut self) {
        let main = &self.main.name;
        if ![StepName::Otp, StepName::OtpStart, StepName::PushStart].into_iter().any(|step| self.has(step)) {
            let text =
                format_args!("[{main}]: has no step; write [{main} otp], [{main} otp_start] or [{main} push_start]");
            self.mistakes.at_line(self.main.line, text);
        }
        let needs = [
            (StepName::PushStart, StepName::PushPoll),
            (StepName::PushPoll, StepName::PushStart),
            (StepName::PushSend, StepName::PushStart),
            (StepName::Finalize, StepName::PushPoll),
            (StepName::Cancel, StepName::PushStart),
        ];
        for (step, other) in needs {
            if self.has(step) && !self.has(other) {
                let text = format!("[{main} {}]: does nothing without [{main} {}]", step.word(), other.word());
                self.mistakes.at_line(self.sections.get(&step).map_or(self.main.line, |s| s.line), text);
            }
        }
        if self.has(StepName::Authorize) {
            let text = format!("[{main} authorize]: takes a service that decides itself: response = verdict");
            let at = self.sections.get(&StepName::Authorize).map_or(self.main.line, |section| section.line);
            self.mistakes.at_line(at, text);
        }
        let at = |step: &StepName| self.sections.get(step).map_or(self.main.line, |section| section.line);
        if self.has(StepName::OtpStart) && !self.has(StepName::Otp) && !self.has(StepName::Answer) {
            let text = format!("[{main} otp_start]: nothing takes the code; write [{main} answer]");
            self.mistakes.at_line(at(&StepName::OtpStart), text);
        }
        if self.has(StepName::OtpStart) && self.has(StepName::PushStart) {
            let text = format!("[{main} otp_start]: is never sent: without a code, [{main} push_start] is");
            self.mistakes.at_line(at(&StepName::OtpStart), text);
        }
        if asks(self.service, StepName::Otp) && !self.has(StepName::Answer) {
            let text = format!("asks one more code; write [{main} answer], which takes it");
            self.note(StepName::Otp, "pending", &text);
        }
        if self.has(StepName::Answer) && !self.has(StepName::OtpStart) && !asks(self.service, StepName::Otp) {
            let text = format!(
                "[{main} answer]: nothing asks: there is neither [{main} otp_start] nor pending in [{main} otp]"
            );
            self.mistakes.at_line(at(&StepName::Answer), text);
        }
    }

    /// Which rules a step must have, and which would be wrong there.
    fn rules(&mut self, name: StepName, step: &Step) {
        let word = name.word();
        match (&step.success.0, name.is_terminal()) {
            (None, true) => self.note(name, "success", "is missing; expected what the answer must be for an accept"),
            (Some(_), false) => {
                self.note(name, "success", &format!("{word} accepts nobody; what must be there to go on is pending"));
            }
            (Some(rule), true) => {
                if !rule.is_evidence() {
                    let text = "a status, exists and absent are no evidence: expected a value in each alternative, such \
                                as /result/value = true";
                    self.note(name, "success", text);
                }
                if rule.statuses().any(|status| status >= 300) {
                    self.note(name, "success", "expected a status from 200 to 299");
                }
            }
            (None, false) => {}
        }
        let pending = match name {
            StepName::OtpStart | StepName::PushStart | StepName::PushSend | StepName::PushPoll => Use::Must,
            StepName::Otp | StepName::Answer => Use::May,
            StepName::Finalize | StepName::Cancel | StepName::Authorize => Use::No,
        };
        match (pending, step.pending.0.is_some()) {
            (Use::Must, false) => self.note(name, "pending", "is missing; expected what the answer must be to go on"),
            (Use::No, true) => self.note(name, "pending", &format!("nothing follows {word}")),
            (Use::Must, true) | (Use::No, false) | (Use::May, _) => {}
        }
        let goes_on = step.pending.0.is_some() && name != StepName::PushPoll;
        let captures = goes_on || name == StepName::PushPoll;
        for (option, is_there, is_used) in [
            ("capture", step.capture.0.is_some(), captures),
            ("show", step.show.0.is_some(), goes_on),
            ("echo", step.echo.0.is_some(), name != StepName::Cancel),
            ("message", step.message.0.is_some(), name != StepName::Cancel),
        ] {
            if is_there && !is_used {
                self.note(name, option, &format!("does nothing in {word} as it stands"));
            }
        }
        let rules: Vec<_> = step.rules().map(|(option, rule)| (option, rule.statuses().any(|s| s == 401))).collect();
        for (option, names_401) in rules {
            if name == StepName::Cancel {
                self.note(name, option, "nobody waits for the answer to cancel");
            }
            if names_401 && self.service.auth == AuthKind::ClientCredentials {
                let text = "with auth = client_credentials, status 401 says that the token is over, and nothing else";
                self.note(name, option, text);
            }
        }
    }

    fn headers(&mut self, name: StepName, step: &Step) {
        let taken = self.service.auth_header.0.as_ref().map(|header| header.0.as_str());
        let mut headers = step.headers.0.iter().flat_map(|headers| &headers.0);
        if headers.any(|(header, _)| Some(header.as_str()) == taken) {
            self.note(name, "headers", "holds auth_header, which is there already");
        }
    }

    fn body(&mut self, name: StepName, step: &Step) {
        if step.form.0.is_some() && step.json.0.is_some() {
            self.note(name, "json", "stands beside form; a request has one body");
        }
        let body = if step.json.0.is_some() { "json" } else { "form" };
        if (step.form.0.is_some() || step.json.0.is_some()) && !step.request.verb.has_body() {
            self.note(name, body, "no body goes with GET or DELETE");
        }
        let used: BTreeSet<&str> = templates(step)
            .into_iter()
            .filter(|(_, place, _)| *place != Place::Show && *place != Place::Echo)
            .flat_map(|(_, _, template)| template.placeholders())
            .chain(link(step))
            .collect();
        if name.takes_code() && !used.contains("otp") {
            self.note(name, body, "{otp} is missing: the code would not be verified");
        }
        let names_whom = match name {
            StepName::Otp | StepName::OtpStart | StepName::PushStart | StepName::Authorize => used.contains("user"),
            StepName::Answer | StepName::PushSend | StepName::PushPoll | StepName::Finalize | StepName::Cancel => {
                used.iter().any(|name| *name == "user" || !KNOWN.contains(name))
            }
        };
        if !names_whom {
            let text = match name {
                StepName::Otp | StepName::OtpStart | StepName::PushStart | StepName::Authorize => {
                    "{user} is nowhere in it: anybody would be meant"
                }
                StepName::Answer | StepName::PushSend | StepName::PushPoll | StepName::Finalize | StepName::Cancel => {
                    "neither {user} nor anything captured is in it: anybody would be meant"
                }
            };
            self.note(name, "request", text);
        }
    }

    /// Whether each placeholder is known there, and may stand there.
    fn placeholders(&mut self, name: StepName, step: &Step) {
        let service = self.service;
        let before = before(service, name);
        let here: Vec<&Capture> = step.captures().iter().collect();
        for (option, place, template) in templates(step) {
            let shown = place == Place::Show;
            let captured: Vec<&Capture> = before.iter().chain(here.iter().filter(|_| shown)).copied().collect();
            for placeholder in template.placeholders() {
                if verdict::is_state(service, name, place, placeholder) {
                    continue;
                }
                if let Some(text) = unfit(placeholder, place, name, &captured) {
                    self.note(name, option, &text);
                }
            }
        }
        if let Some(placeholder) = link(step) {
            match before.iter().find(|capture| capture.name == placeholder) {
                Some(capture) if capture.shape.class == Class::Link => {}
                Some(_) => self.note(name, "request", &format!("{{{placeholder}}} is no captured url")),
                None => {
                    let text = format!("{{{placeholder}}}: expected a path, or a url that was captured before");
                    self.note(name, "request", &text);
                }
            }
        }
    }

    /// Whether what is captured has a name of its own and a use.
    fn captures(&mut self, name: StepName, step: &Step) {
        for capture in step.captures() {
            let placeholder = capture.name.as_str();
            if KNOWN.contains(&placeholder) {
                self.note(name, "capture", &format!("{placeholder} is known already; choose another name"));
                continue;
            }
            let is_used = self.service.steps.values().any(|step| {
                let used = templates(step).into_iter().flat_map(|(_, _, template)| template.placeholders());
                used.chain(link(step)).any(|used| used == placeholder)
            });
            if !is_used {
                self.note(name, "capture", &format!("{placeholder} is used nowhere"));
            }
        }
    }
}

/// What was captured whenever a step is reached.
fn before(service: &HttpService, name: StepName) -> Vec<&Capture> {
    let of = |step: StepName| service.steps.get(&step).map_or(&[][..], Step::captures);
    let all = |steps: &[StepName]| steps.iter().flat_map(|step| of(*step)).collect::<Vec<_>>();
    match name {
        StepName::Otp | StepName::OtpStart | StepName::PushStart | StepName::Authorize => Vec::new(),
        StepName::PushSend => all(&[StepName::PushStart]),
        StepName::PushPoll | StepName::Cancel => all(&[StepName::PushStart, StepName::PushSend]),
        StepName::Finalize => all(&[StepName::PushStart, StepName::PushSend, StepName::PushPoll]),
        StepName::Answer => match (service.steps.contains_key(&StepName::OtpStart), asks(service, StepName::Otp)) {
            (true, false) => all(&[StepName::OtpStart]),
            (false, _) => all(&[StepName::Otp]),
            // Only what both ways give is there.
            (true, true) => {
                let other = of(StepName::Otp);
                let is_there = |capture: &&Capture| other.iter().any(|known| known.name == capture.name);
                of(StepName::OtpStart).iter().filter(is_there).collect()
            }
        },
    }
}

fn asks(service: &HttpService, step: StepName) -> bool {
    service.steps.get(&step).is_some_and(|step| step.pending.0.is_some())
}

/// Why `placeholder` cannot stand in this place of this step.
fn unfit(placeholder: &str, place: Place, step: StepName, captured: &[&Capture]) -> Option<String> {
    if matches!(placeholder, "auth_secret" | "secret" | "password") {
        return Some(format!("{{{placeholder}}}: a secret goes into the request by auth only"));
    }
    let capture = captured.iter().find(|capture| capture.name == placeholder);
    let is_known = KNOWN.contains(&placeholder);
    if !is_known && capture.is_none() {
        let names = KNOWN.into_iter().chain(captured.iter().map(|capture| capture.name.as_str()));
        let hint = suggestion(placeholder, names, false);
        return Some(format!("{{{placeholder}}}: unknown placeholder, or not captured before{hint}"));
    }
    let fits = match (place, capture) {
        (Place::Show, _) => placeholder != "otp",
        (_, Some(capture)) if capture.optional => {
            return Some(format!("{{{placeholder}}} is optional, and may be missing here"));
        }
        // What answers a question of the step itself.
        (Place::Body, _) if placeholder == "otp" && step == StepName::Authorize => true,
        (Place::Body | Place::Echo, _) if placeholder == "otp" => step.takes_code(),
        (Place::Body | Place::Echo, _) => true,
        (Place::Query, _) => placeholder != "otp",
        (Place::Path, Some(capture)) | (Place::Header, Some(capture)) => match capture.shape.class {
            Class::Digits | Class::Hex | Class::Token => true,
            Class::Text | Class::Link => false,
        },
        (Place::Path, None) => matches!(placeholder, "user" | "uuid" | "nonce"),
        (Place::Header, None) => matches!(placeholder, "uuid" | "nonce" | "client_ip"),
    };
    let why = match place {
        _ if placeholder == "otp" => "a code goes into the body of otp and answer only",
        Place::Path => "only {user}, {uuid}, {nonce} and captured digits, hex and token go into a path",
        Place::Header => "only {uuid}, {nonce}, {client_ip} and captured digits, hex and token go into a header",
        Place::Query | Place::Body | Place::Echo | Place::Show => "does not belong here",
    };
    (!fits).then(|| format!("{{{placeholder}}}: {why}"))
}

/// The templates of a step, each with its option and place.
fn templates(step: &Step) -> Vec<(&'static str, Place, &Template)> {
    let mut templates = Vec::new();
    if let Target::Path { segments, slash: _ } = &step.request.target {
        templates.extend(segments.iter().map(|segment| ("request", Place::Path, segment)));
    }
    for (option, place, pairs) in [("query", Place::Query, &step.query.0), ("form", Place::Body, &step.form.0)] {
        templates.extend(pairs.iter().flat_map(|pairs| &pairs.0).map(|(_, value)| (option, place, value)));
    }
    let headers = step.headers.0.iter().flat_map(|headers| &headers.0);
    templates.extend(headers.map(|(_, value)| ("headers", Place::Header, value)));
    let json = step.json.0.iter().flat_map(super::request::JsonBody::templates);
    templates.extend(json.map(|template| ("json", Place::Body, template)));
    let echoes = step.echo.0.iter().flat_map(|echoes| &echoes.0);
    templates.extend(echoes.map(|(_, template)| ("echo", Place::Echo, template)));
    templates.extend(step.show.0.iter().map(|template| ("show", Place::Show, template)));
    templates
}

/// The captured address that a step goes to.
fn link(step: &Step) -> Option<&str> {
    match &step.request.target {
        Target::Path { segments: _, slash: _ } => None,
        Target::Link(name) => Some(name),
    }
}
