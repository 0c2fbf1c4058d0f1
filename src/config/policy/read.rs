//! From the policy sections to [`Policy`], and what in them does not go together.

use std::collections::BTreeMap;

use super::sections::{
    AuthorizeOptions, CacheOptions, DirectoryMapping, EXPLICIT, GroupWhitelist, HotpOptions, LdapChoice, LdapOptions,
    LimitOptions, PolicyOptions, QuestionOptions, RecoveryOptions, StepUpOptions, Transform, UpnOptions, UserList,
    UserWhitelist, declaration, question_number,
};
use super::{ConnectionLimit, Enforcement, LdapServer, NamedExemption, Policy, PolicyQuestion, Ticket, is_here};
use crate::config::declare;
use crate::config::ini::Section;
use crate::config::mistake::{Mistakes, suggestion};
use crate::config::reading::Reading;
use crate::config::value::{List, YesNo};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::policy::cache::CacheRule;
use crate::policy::exemption::Exemption;
use crate::policy::identify::UpnSuffix;
use crate::policy::mapping::{Domains, Explicit};
use crate::policy::step_up::StepUp;

/// The keys of `key_value_pairs` that are no answers to a question.
const RESERVED: [&str; 3] = ["otp", "gu", "username"];

const USER_WHITELIST: &str = "whitelist source=user_list";
const GROUP_WHITELIST: &str = "whitelist source=ldap_server_group";
const DIRECTORY_MAPPING: &str = "usermapping source=ldap_server";

/// Whether a section of this name is one of policy.
pub fn is_policy_section(name: &str) -> bool {
    name == EXPLICIT || declaration(name).is_some()
}

impl Policy {
    /// What the policy sections among `sections` say; what does not go together goes to `mistakes`.
    pub fn read(sections: &[Section], mistakes: &mut Mistakes) -> Self {
        let mut policy = Self::default();
        if !sections.iter().any(|section| is_policy_section(&section.name)) {
            return policy;
        }
        let file = File { sections, reading: mistakes.reading() };
        policy.upn_suffix = file.upn_suffix(mistakes);
        policy.exempt_users = file.exempt_users(mistakes);
        let groups = file.section(GROUP_WHITELIST, mistakes);
        policy.exempt_groups = groups
            .and_then(|section| GroupWhitelist::read(Some(section), mistakes))
            .map(|read| Exemption { allow: read.allow, except: read.except.0 });
        policy.cache = file.section("authentication_cache", mistakes).and_then(|section| {
            let read = CacheOptions::read(Some(section), mistakes)?;
            Some(CacheRule { soft: read.soft_timeout.0, hard: read.hard_timeout.0, reuse: read.reuse_limit.0? })
        });
        policy.explicit = file.find(EXPLICIT).map(|section| explicit(section, mistakes)).unwrap_or_default();
        let mapping = file.section(DIRECTORY_MAPPING, mistakes);
        policy.user_attribute = mapping
            .and_then(|section| DirectoryMapping::read(Some(section), mistakes))
            .map(|read| read.user_attribute.0);
        policy.append_domain = file.append_domain(mistakes);
        policy.questions = file.questions(mistakes);
        policy.connection_limit =
            file.section("connection_limit by=client_ip_gateway_user", mistakes).and_then(|section| {
                let read = LimitOptions::read(Some(section), mistakes)?;
                let limit = ConnectionLimit { limit: read.limit.0, stale_after: read.stale_after.0 };
                (limit.limit != 0).then_some(limit)
            });
        policy.directory = file.directory([groups, mapping].into_iter().flatten().next(), mistakes);
        policy.authorize_requires_proof = file
            .section("authorize", mistakes)
            .and_then(|section| AuthorizeOptions::read(Some(section), mistakes))
            .is_some_and(|read| read.require_proof == YesNo::Yes);
        policy.step_up = file.section("step_up", mistakes).and_then(|section| step_up(section, mistakes));
        if let Some(section) = file.section("policy", mistakes) {
            policy.read_policy(section, mistakes);
        }
        let hotp = file.section("hotp", mistakes);
        policy.hotp = hotp.and_then(|section| HotpOptions::read(Some(section), mistakes)).map(Box::new);
        let recovery = file.section("recovery", mistakes);
        policy.recovery = recovery.and_then(|section| RecoveryOptions::read(Some(section), mistakes)).map(Box::new);
        policy
    }
}

impl Policy {
    /// What `[policy]` says.
    fn read_policy(&mut self, section: &Section, mistakes: &mut Mistakes) {
        let Some(read) = PolicyOptions::read(Some(section), mistakes) else { return };
        let PolicyOptions { enforce, unenrolled, enrolment_ticket, ignore_domains } = read;
        self.domains = ignore_domains.0.map(|list| Domains::new(&list.0)).unwrap_or_default();
        self.enforcement = if enforce == YesNo::Yes { Enforcement::On } else { Enforcement::Shadow };
        self.ticket = if enrolment_ticket == YesNo::Yes { Ticket::Needed } else { Ticket::Needless };
        self.unenrolled = unenrolled;
        if self.enforcement == Enforcement::Shadow {
            let text = "a trial run: everybody is let in, whatever is decided; the log says what would have been";
            mistakes.warn_at_option(section.line_of("enforce"), "policy", "enforce", text);
        }
    }
}

/// What `[step_up]` says. Its lists say what it is about: nothing can be taken out of them again, and a list of such words alone
/// would be about nobody.
fn step_up(section: &Section, mistakes: &mut Mistakes) -> Option<StepUp> {
    let StepUpOptions { protocols, connections, targets, max_age } = StepUpOptions::read(Some(section), mistakes)?;
    let mut words = |option: &str, list: Option<List>| {
        let list = list.map(|list| list.0);
        if let Some(word) = list.iter().flatten().find(|word| word.starts_with('!')) {
            let text = format!(
                "expected what asks for a fresh proof, found {}; there is no word for what does not",
                Foreign(word)
            );
            mistakes.at_option(section.line_of(option), "step_up", option, text);
        }
        list
    };
    let protocols = words("protocols", protocols.0);
    let (connections, targets) = (words("connections", connections.0), words("targets", targets.0));
    Some(StepUp { protocols, connections, targets, max_age: max_age.0 })
}

/// The sections of the file, and by whose rules they are read.
struct File<'a> {
    sections: &'a [Section],
    reading: Reading,
}

impl<'a> File<'a> {
    /// The section `name`. In the reading of SPS, one that says nothing is as if it were not there: so its plugins come.
    fn find(&self, name: &str) -> Option<&'a Section> {
        let found = self.sections.iter().find(|section| section.name == name)?;
        match self.reading {
            Reading::Sps if found.entries.is_empty() => None,
            Reading::Sps | Reading::Native => Some(found),
        }
    }

    /// The same, its unknown options told.
    fn section(&self, name: &str, mistakes: &mut Mistakes) -> Option<&'a Section> {
        let section = self.find(name)?;
        refuse_unknown(section, mistakes);
        Some(section)
    }

    /// The same, where an SPS plugin would find what it looks for: elsewhere its section is off.
    fn filled(&self, name: &str, options: &[&str], mistakes: &mut Mistakes) -> Option<&'a Section> {
        let section = self.section(name, mistakes)?;
        let missing = options.iter().find(|option| section.value(option).is_none());
        match (self.reading, missing) {
            (Reading::Sps, Some(missing)) => {
                mistakes.warn_at_option(section.line, name, missing, "is missing, so this section does nothing");
                None
            }
            (Reading::Native, _) | (Reading::Sps, None) => Some(section),
        }
    }

    fn upn_suffix(&self, mistakes: &mut Mistakes) -> UpnSuffix {
        let Some(section) = self.section("ignore_upn_suffix_for_rdp", mistakes) else { return UpnSuffix::default() };
        let entry = section.entries.iter().find(|entry| entry.name == "ignore");
        match (self.reading, entry) {
            (Reading::Sps, Some(entry)) if entry.value != "true" => {
                if entry.value != "false" {
                    let text =
                        format!("only true means true here, so \"{}\" means false", Foreign(entry.shown_value()));
                    mistakes.warn_at_option(entry.line, &section.name, "ignore", text);
                }
                UpnSuffix::Keep
            }
            (Reading::Sps | Reading::Native, _) => {
                UpnOptions::read(Some(section), mistakes).map(|read| read.ignore).unwrap_or_default()
            }
        }
    }

    fn exempt_users(&self, mistakes: &mut Mistakes) -> Option<NamedExemption> {
        let whitelist = self.filled(USER_WHITELIST, &["name"], mistakes);
        let wanted = whitelist.and_then(|section| UserWhitelist::read(Some(section), mistakes)).map(|read| read.name);
        let lists: Vec<(&str, Option<Exemption>)> = self
            .named("user_list", mistakes)
            .into_iter()
            .map(|(name, section)| {
                if wanted.as_deref() != Some(name) {
                    let text = format_args!("[{}]: nobody asks for this list", Foreign(&section.name));
                    mistakes.warn_at_line(section.line, text);
                }
                refuse_unknown(section, mistakes);
                let read = UserList::read(Some(section), mistakes);
                let exemption = read.map(|read| Exemption {
                    allow: read.allow,
                    except: read.except.0.map(|list| list.0).unwrap_or_default(),
                });
                if exemption.as_ref().is_some_and(Exemption::is_for_everybody) {
                    let text = "everybody is let in without a second factor; name in except who is not";
                    mistakes.warn_at_option(section.line_of("allow"), &section.name, "allow", text);
                }
                (name, exemption)
            })
            .collect();
        let (section, wanted) = (whitelist?, wanted?);
        let Some((_, exemption)) = lists.iter().find(|(name, _)| *name == wanted) else {
            let names = lists.iter().map(|(name, _)| *name);
            no_such(section, "user_list", &wanted, names, mistakes);
            return None;
        };
        Some(NamedExemption { name: wanted, exemption: exemption.clone()? })
    }

    fn append_domain(&self, mistakes: &mut Mistakes) -> Option<String> {
        let section = self.filled("username_transform", &["append_domain"], mistakes)?;
        let said = section.entries.iter().find(|entry| entry.name == "append_domain");
        match (self.reading, said) {
            (Reading::Sps, Some(entry)) if entry.value.is_empty() => {
                mistakes.warn_at_option(
                    entry.line,
                    &section.name,
                    &entry.name,
                    "is empty, so nothing is put behind names",
                );
                None
            }
            (Reading::Sps, Some(entry)) if entry.value.contains('@') => {
                let text = format!("names will end in \"@{}\"", Foreign(entry.shown_value()));
                mistakes.warn_at_option(entry.line, &section.name, &entry.name, text);
                Some(entry.value.clone())
            }
            (Reading::Sps | Reading::Native, _) => {
                Transform::read(Some(section), mistakes).map(|read| read.append_domain.0)
            }
        }
    }

    fn questions(&self, mistakes: &mut Mistakes) -> Vec<PolicyQuestion> {
        let mut numbered: BTreeMap<u32, &Section> = BTreeMap::new();
        for section in self.sections {
            if let (Some(number), Some(section)) = (question_number(&section.name), self.find(&section.name)) {
                numbered.insert(number, section);
            }
        }
        let (mut questions, mut keys) = (Vec::new(), BTreeMap::new());
        let mut next = 1;
        let mut is_over = false;
        for (number, section) in numbered {
            refuse_unknown(section, mistakes);
            if is_over || number != next {
                let text = if is_over {
                    format!("[{}]: is not asked, as the list of questions ends before it", section.name)
                } else {
                    format!("[{}]: is not asked, as there is no [question_{next}]", section.name)
                };
                mistakes.passed_over_at_line(section.line, text);
                if self.reading == Reading::Sps {
                    is_over = true;
                    continue;
                }
            }
            next = number.saturating_add(1);
            let Some(section) = self.filled(&section.name, &["prompt", "key"], mistakes) else {
                is_over = true;
                continue;
            };
            let Some(question) = self.question(section, mistakes) else { continue };
            if RESERVED.contains(&question.key.as_str()) {
                let text =
                    "is a key of the login itself: its answer would be a code, or name somebody else; expected another";
                mistakes.at_option(section.line_of("key"), &section.name, "key", text);
            }
            if let Some(first) = keys.insert(question.key.clone(), number) {
                let text = format_args!("is the key of [question_{first}] already, so this question is not asked");
                mistakes.passed_over_at_option(section.line_of("key"), &section.name, "key", text);
            }
            questions.push(question);
        }
        questions
    }

    fn question(&self, section: &Section, mistakes: &mut Mistakes) -> Option<PolicyQuestion> {
        let prompt = section.entries.iter().find(|entry| entry.name == "prompt");
        if let (Reading::Sps, Some(prompt)) = (self.reading, prompt)
            && prompt.value.is_empty()
        {
            mistakes.warn_at_option(prompt.line, &section.name, "prompt", "is empty: a question without words");
            let key = declare::required::<String>(Some(section), "key", "ticket", mistakes);
            let echo = declare::value(Some(section), "disable_echo", "yes", mistakes);
            return Some(PolicyQuestion { key: key?, prompt: String::new(), echo: echo? });
        }
        let read = QuestionOptions::read(Some(section), mistakes)?;
        Some(PolicyQuestion { key: read.key, prompt: read.prompt, echo: read.disable_echo })
    }

    /// The directory that `[ldap_server]` names; `needed_by` is a section that asks it.
    fn directory(&self, needed_by: Option<&Section>, mistakes: &mut Mistakes) -> Option<Box<LdapServer>> {
        let choice = self.section("ldap_server", mistakes);
        if let (None, Some(section)) = (choice, needed_by) {
            let text = format_args!(
                "[{}]: needs a directory; name one in [ldap_server], and describe it in [ldap_server NAME]",
                section.name
            );
            mistakes.at_line(section.line, text);
        }
        let wanted = choice.and_then(|section| LdapChoice::read(Some(section), mistakes)).map(|read| read.name);
        let mut servers = Vec::new();
        for (name, section) in self.named("ldap_server", mistakes) {
            if wanted.as_deref() != Some(name) {
                let text = format_args!("[{}]: nobody asks this directory", Foreign(&section.name));
                mistakes.warn_at_line(section.line, text);
            }
            refuse_unknown(section, mistakes);
            servers.push((name, ldap_server(name, section, mistakes)));
        }
        let (section, wanted) = (choice?, wanted?);
        let Some(index) = servers.iter().position(|(name, _)| *name == wanted) else {
            no_such(section, "ldap_server", &wanted, servers.iter().map(|(name, _)| *name), mistakes);
            return None;
        };
        servers.swap_remove(index).1.map(Box::new)
    }

    /// The sections `[KIND NAME]`, by name.
    fn named(&self, kind: &str, mistakes: &mut Mistakes) -> Vec<(&'a str, &'a Section)> {
        let mut found = Vec::new();
        for section in self.sections {
            if let Some(name) = section.name.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' ')) {
                if name.trim() == name && !name.is_empty() {
                    found.push((name, section));
                } else {
                    let text = format_args!("[{}]: expected one space before the name", Foreign(&section.name));
                    mistakes.at_line(section.line, text);
                }
            }
        }
        found
    }
}

fn refuse_unknown(section: &Section, mistakes: &mut Mistakes) {
    let Some(declaration) = declaration(&section.name) else { return };
    if section.name == "authentication_cache"
        && mistakes.reading() == Reading::Sps
        && let Some(entry) = section.entries.iter().find(|entry| entry.name == "cache_dir")
    {
        let text = "is not used: what is cached lies in the store ([plugin] store)";
        mistakes.warn_at_option(entry.line, &section.name, &entry.name, text);
        let known = section.entries.iter().filter(|entry| entry.name != "cache_dir").cloned().collect();
        let rest = Section { name: section.name.clone(), line: section.line, entries: known };
        return declare::refuse_unknown_options(&rest, declaration.all(), mistakes);
    }
    declare::refuse_unknown_options(section, declaration.all(), mistakes);
}

fn no_such<'a>(
    section: &Section,
    kind: &str,
    wanted: &str,
    known: impl Iterator<Item = &'a str>,
    mistakes: &mut Mistakes,
) {
    let hint = suggestion(wanted, known, false);
    let text = format!("there is no section [{kind} {}]; write it, or name another{hint}", Foreign(wanted));
    mistakes.at_option(section.line_of("name"), &section.name, "name", text);
}

fn explicit(section: &Section, mistakes: &mut Mistakes) -> Explicit {
    let mut map = Explicit::new();
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &section.entries {
        let (lower, name) = (Subscriber::canonical(&entry.name).as_str().to_owned(), Foreign(&entry.name).to_string());
        if let Some(first) = lines.insert(lower.clone(), entry.line) {
            let text = format_args!("is there already in another spelling, at line {first}");
            mistakes.at_option(entry.line, &section.name, &name, text);
        }
        if entry.value.is_empty() {
            let text = "is empty, so this name is not mapped; write the name at the MFA service, or remove the line";
            mistakes.passed_over_at_option(entry.line, &section.name, &name, text);
        }
        map.insert(lower, entry.value.clone());
    }
    map
}

fn ldap_server(name: &str, section: &Section, mistakes: &mut Mistakes) -> Option<LdapServer> {
    let read = LdapOptions::read(Some(section), mistakes)?;
    let mut note = |option: &str, text: &str| {
        mistakes.at_option(section.line_of(option), &section.name, option, text);
    };
    if read.bind_dn.0.is_some() != read.bind_password.0.is_some() {
        note("bind_dn", "goes with bind_password: name both or neither");
    }
    let start_tls = read.start_tls == YesNo::Yes;
    if start_tls && read.url.0.iter().any(|url| url.scheme() == "ldaps") {
        note("start_tls", "goes with ldap:// only; ldaps:// speaks TLS from the beginning");
    }
    let allow_insecure_ldap = read.allow_insecure_ldap == YesNo::Yes;
    if !start_tls && !allow_insecure_ldap && read.url.0.iter().any(|url| url.scheme() == "ldap" && !is_here(url)) {
        let text = "passwords would cross the network for everybody to read, and answers could be forged; expected \
                    ldaps://, or write start_tls = yes or allow_insecure_ldap = yes below";
        note("url", text);
    }
    Some(LdapServer {
        name: name.to_owned(),
        urls: read.url.0,
        start_tls,
        ca_cert: read.ca_cert.0,
        allow_insecure_ldap,
        bind_dn: read.bind_dn.0,
        bind_password: read.bind_password.0,
        base_dn: read.base_dn,
        user_filter: read.user_filter.0,
        group_attribute: read.group_attribute.0,
        group_filter: read.group_filter.0.map(|filter| filter.0),
        group_base_dn: read.group_base_dn.0,
        group_name_attribute: read.group_name_attribute.0,
        timeout: read.timeout.0,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::policy::cache::{CacheRule, Reuse};
    use crate::policy::exemption::Allow;
    use crate::policy::identify::UpnSuffix;

    #[test]
    fn every_section_of_policy_is_what_it_says() {
        let text = "[ignore_upn_suffix_for_rdp]\nignore = No\n[whitelist source=user_list]\nname = vips\n\
            [user_list vips]\nallow = no_user\nexcept = alice, Bob\n[whitelist source=ldap_server_group]\n\
            allow = all_users\nexcept = admins,dba\n[ldap_server]\nname = ad\n[ldap_server ad]\n\
            url = ldaps://a.example, ldaps://b.example\nbase_dn = dc=x\n[authentication_cache]\nreuse_limit = -1\n\
            soft_timeout = 0.5\n[usermapping source=explicit]\nAlice = a.smith\ncorp\\carol = 100%\n\
            [usermapping source=ldap_server]\nuser_attribute = mail\n[username_transform]\nappend_domain = x.example\n\
            [question_1]\nprompt = Ticket:\nkey = ticket\n[question_2]\nprompt = Why?\nkey = why\ndisable_echo = no\n\
            [connection_limit by=client_ip_gateway_user]\nlimit = -1\n[authorize]\nrequire_proof = yes\n";
        let config = Config::parse(Path::new("plugin.ini"), text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let policy = config.policy;
        assert_eq!(policy.upn_suffix, UpnSuffix::Keep);
        let users = policy.exempt_users.unwrap();
        assert_eq!((users.name.as_str(), users.exemption.except.len()), ("vips", 2));
        assert_eq!(policy.exempt_groups.unwrap().allow, Allow::AllUsers);
        assert_eq!(policy.cache.unwrap(), CacheRule { soft: 500, hard: 90_000, reuse: Reuse::Unlimited });
        assert_eq!(policy.explicit["alice"], "a.smith");
        assert_eq!(policy.explicit["corp\\carol"], "100%");
        assert_eq!(policy.user_attribute.as_deref(), Some("mail"));
        assert_eq!(policy.append_domain.as_deref(), Some("x.example"));
        assert_eq!(policy.questions.iter().map(|q| q.key.as_str()).collect::<Vec<_>>(), ["ticket", "why"]);
        let limit = policy.connection_limit.unwrap();
        assert_eq!((limit.limit, limit.stale_after), (-1, 86_400));
        assert_eq!(policy.directory.unwrap().urls.len(), 2);
        assert!(policy.authorize_requires_proof);
    }
}
