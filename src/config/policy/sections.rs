//! What is declared of each policy section.

use crate::config::declare::SectionDeclaration;
use crate::config::value::{
    Alphabet, Attribute, Authorities, Count, Domain, GroupFilter, Integer, LdapUrls, List, Milliseconds, Optional,
    ReuseLimit, Seconds, Separator, ServiceSecret, UserFilter, YesNo,
};
use crate::domain::authenticator::Algorithm;
use crate::domain::verdict::Echo;
use crate::policy::exemption::Allow;
use crate::policy::identify::UpnSuffix;
use crate::policy::unenrolled::Unenrolled;

options! {
    /// `[ignore_upn_suffix_for_rdp]`.
    UpnOptions {
        /// Whether alice@corp.example is alice, where a user is named by what logs in to the target, over rdp and tsg.
        ignore: UpnSuffix = "true";
    }
}

options! {
    /// `[whitelist source=user_list]`.
    UserWhitelist {
        /// The `[user_list NAME]` that says who.
        name: String = required "vips";
    }
}

options! {
    /// `[user_list NAME]`.
    UserList {
        /// Who is let in without a second factor: no_user or all_users, each but for the exceptions.
        allow: Allow = required "no_user";
        /// The exceptions. Upper and lower case are told apart.
        except: Optional<List> = "";
    }
}

options! {
    /// `[whitelist source=ldap_server_group]`.
    GroupWhitelist {
        /// Whose members are let in without a second factor: those of no_user or all_users, each but for the exceptions.
        allow: Allow = required "no_user";
        /// The groups whose members are the exceptions, by name.
        except: List = required "admins,operators";
    }
}

options! {
    /// `[ldap_server]`.
    LdapChoice {
        /// The `[ldap_server NAME]` that is asked.
        name: String = required "corp";
    }
}

options! {
    /// `[ldap_server NAME]`.
    LdapOptions {
        /// Its addresses, tried in their order: ldaps:// or ldap://.
        url: LdapUrls = required "ldaps://dc1.corp.example ldaps://dc2.corp.example";
        /// Whether an ldap:// address is asked for TLS before anything else is said.
        start_tls: YesNo = "no";
        /// Certificates (PEM) or a file of them: whoever they sign is the directory. Empty: the authorities of this machine.
        ca_cert: Optional<Authorities> = "";
        /// Allows ldap:// without TLS beyond this machine: passwords cross the network for everybody to read, and who is
        /// exempt can be forged.
        allow_insecure_ldap: YesNo = "no";
        /// As whom to ask; empty: as nobody.
        bind_dn: Optional<String> = "";
        /// Its password.
        bind_password: Optional<ServiceSecret> = "";
        /// Below what users are looked for.
        base_dn: String = required "dc=corp,dc=example";
        /// What finds a user, in Active Directory and in OpenLDAP; {user} stands for the name.
        user_filter: UserFilter = "(&(|(objectClass=person)(objectClass=posixAccount))(|(sAMAccountName={user})(uid={user})))";
        /// Where the user's entry says what groups the user is in.
        group_attribute: Attribute = "memberOf";
        /// What finds the user's groups by their own entries, such as (member={dn}); group_attribute is not looked at then.
        group_filter: Optional<GroupFilter> = "";
        /// Below what group_filter looks; empty: base_dn.
        group_base_dn: Optional<String> = "";
        /// What a group that group_filter found is called.
        group_name_attribute: Attribute = "cn";
        /// How long everything that one verdict wants of the directory may take.
        timeout: Seconds<1, 300> = "5";
    }
}

options! {
    /// `[authentication_cache]`.
    CacheOptions {
        /// How often a verification counts again, from the same user at the same address; 0: never, negative: always.
        reuse_limit: ReuseLimit = "0";
        /// How long after it was last used.
        soft_timeout: Milliseconds = "15";
        /// How long after the verification.
        hard_timeout: Milliseconds = "90";
    }
}

options! {
    /// `[usermapping source=ldap_server]`.
    DirectoryMapping {
        /// The attribute of the user's entry that holds the name at the MFA service.
        user_attribute: Attribute = required "mail";
    }
}

options! {
    /// `[username_transform]`.
    Transform {
        /// What is put behind a name that has no @ in it, after an @.
        append_domain: Domain = required "corp.example";
    }
}

options! {
    /// `[question_1]` and so on.
    QuestionOptions {
        /// The question. One space is put behind it.
        prompt: String = required "Ticket number:";
        /// Under which key the answer goes on, in session_cookie.questions.
        key: String = required "ticket";
        /// Whether the gateway hides what is typed.
        disable_echo: Echo = "yes";
    }
}

options! {
    /// `[connection_limit by=client_ip_gateway_user]`.
    LimitOptions {
        /// How many sessions one user may have from one address at once; 0: as many as they like, negative: none.
        limit: Integer = "0";
        /// After how long a session counts no more whose end nobody told.
        stale_after: Seconds<60, 2592000> = "86400";
    }
}

options! {
    /// `[authorize]`.
    AuthorizeOptions {
        /// Whether a session goes on to its target only with the cookie that says that it was authenticated.
        require_proof: YesNo = "no";
    }
}

options! {
    /// `[step_up]`.
    StepUpOptions {
        /// Over which protocols.
        protocols: Optional<List> = "";
        /// Over which connections, by the gateway's name; * stands for any text.
        connections: Optional<List> = "";
        /// To which targets: names or addresses of hosts, or user@host; * stands for any text.
        targets: Optional<List> = "";
        /// How long after its accept the session's proof still counts; 0: every authorize needs one of its own.
        max_age: Seconds<0, 600> = "0";
    }
}

options! {
    /// `[policy]`.
    PolicyOptions {
        /// Whether verdicts are said as they are decided. no: a trial run. Each is decided and logged as ever, codes are used and
        /// pushes sent, and everybody is let in. For trying out a configuration, never for good.
        enforce: YesNo = "yes";
        /// What becomes of somebody who has no authenticator here: reject; enrol shows a new one at the login, to whom the
        /// gateway has authenticated already (gateway_user), and who never had one; accept lets them in without.
        unenrolled: Unenrolled = "reject";
        /// Whether somebody enrols at the login only with a ticket that `countersign ticket USER` made.
        enrolment_ticket: YesNo = "no";
        /// Domains that are no part of a name: with corp,corp.example both CORP\alice and alice@corp.example are alice, for
        /// mapping, counts and clients. A star stands for every domain.
        ignore_domains: Optional<List> = "";
    }
}

options! {
    /// `[hotp]`.
    HotpOptions {
        /// The hash function. Most tokens know SHA1 only.
        algorithm: Algorithm = "SHA1";
        /// How many digits a code has.
        digits: Count<6, 8> = "6";
        /// How many codes that were never typed may lie before the one that is.
        look_ahead: Count<0, 100> = "10";
        /// Up to how many such codes two codes in a row are good for.
        resync_window: Count<0, 1000> = "100";
    }
}

options! {
    /// `[recovery]`.
    RecoveryOptions {
        /// How many recovery codes somebody is given at once, with an enrolment or after it; 0 gives none.
        count: Count<0, 100> = "10";
        /// How many characters of the alphabet a code has.
        length: Count<10, 64> = "12";
        /// The characters of a code; upper and lower case are the same.
        alphabet: Alphabet = "23456789abcdefghjkmnpqrstuvwxyz";
        /// What stands in the middle of a code to make it easier to read; typed or not.
        separator: Separator = "-";
        /// With fewer codes left than this, the log warns.
        warn_below: Count<0, 100> = "3";
    }
}

/// `[usermapping source=explicit]`, whose options are names.
pub const EXPLICIT: &str = "usermapping source=explicit";

/// Declares the policy sections in the order of the example file; a name that ends in NAME or N stands for many.
macro_rules! declared {
    ($( $(#[doc = $doc:literal])+ $name:literal = $Options:ident; )+) => {
        /// What is declared, in the order of the example file.
        pub static POLICY_DECLARED: &[SectionDeclaration] = &[ $(
            SectionDeclaration { name: $name, doc: &[ $( $doc, )+ ], options: $Options::OPTIONS, shared: &[] },
        )+ ];
    };
}

declared! {
    /// Whether a domain behind a user's name counts.
    "ignore_upn_suffix_for_rdp" = UpnOptions;
    /// Who needs no second factor, by name.
    "whitelist source=user_list" = UserWhitelist;
    /// A list of users.
    "user_list NAME" = UserList;
    /// Who needs no second factor, by the groups of a directory. Where it cannot be asked, everybody does.
    "whitelist source=ldap_server_group" = GroupWhitelist;
    /// The directory that [whitelist source=ldap_server_group] and [usermapping source=ldap_server] ask.
    "ldap_server" = LdapChoice;
    /// A directory.
    "ldap_server NAME" = LdapOptions;
    /// How long somebody who was verified needs no second factor from the same address.
    "authentication_cache" = CacheOptions;
    /// The name at the MFA service, from the directory. It is asked for what [usermapping source=explicit] says.
    "usermapping source=ldap_server" = DirectoryMapping;
    /// What becomes of a name when it was mapped.
    "username_transform" = Transform;
    /// What is asked after the second factor; further ones stand in [question_2] and so on.
    "question_N" = QuestionOptions;
    /// How many sessions there may be at once, counted when they are authorized.
    "connection_limit by=client_ip_gateway_user" = LimitOptions;
    /// What a session needs when it goes on to its target.
    "authorize" = AuthorizeOptions;
    /// Which sessions need a fresh proof before they go on to their target, where every list that is given says so. What the
    /// gateway does not say of a session may be anything.
    "step_up" = StepUpOptions;
    /// Whom these rules hold for, and what becomes of somebody who is not enrolled.
    "policy" = PolicyOptions;
    /// Counter-based one-time passwords (RFC 4226), verified here: name it in [plugin] clients. algorithm and digits are for new
    /// authenticators.
    "hotp" = HotpOptions;
    /// Recovery codes, which stand in for an authenticator that is lost.
    "recovery" = RecoveryOptions;
}

/// What is declared of the section `name`; `None` where it is no policy section.
pub fn declaration(name: &str) -> Option<&'static SectionDeclaration> {
    let declared = match name {
        _ if question_number(name).is_some() => "question_N",
        _ if name.starts_with("user_list ") => "user_list NAME",
        _ if name.starts_with("ldap_server ") => "ldap_server NAME",
        "question_N" => return None,
        _ => name,
    };
    POLICY_DECLARED.iter().find(|declaration| declaration.name == declared)
}

/// Which question a section puts.
pub fn question_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("question_")?;
    let is_plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if is_plain { digits.parse().ok() } else { None }
}
