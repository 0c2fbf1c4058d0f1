//! Which of several authenticators the claimant proves themselves with: the default, or the one that they choose.

use unicode_normalization::UnicodeNormalization;

use super::held::{self, Held};
use super::story::{Standing as InPlace, Story};
use super::{End, Engine, own_fault};
use crate::client::{Asks, Codes, Kept, Wired};
use crate::domain::authenticator::{AuthenticatorId, Mechanism, Standing};
use crate::domain::challenge::ChallengeId;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, OTP, Prompt};
use crate::domain::secret::TypedCode;
use crate::domain::verdict::Verdict;

/// One way for the claimant to prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The client.
    pub section: String,
    /// The authenticator, where it is kept here.
    pub id: Option<AuthenticatorId>,
    pub label: String,
    pub is_default: bool,
    /// Whether a code has to be sent to this very one.
    is_sent: bool,
}

/// What was typed in place of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    List,
    /// From 1.
    Number(usize),
}

impl Pick {
    fn of(typed: &TypedCode) -> Option<Self> {
        // Two characters are no code of anybody.
        let plain: String = typed.expose().trim().chars().take(3).nfkc().collect();
        match plain.as_str() {
            "?" => Some(Self::List),
            digits if digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().map(Self::Number)
            }
            _ => None,
        }
    }
}

/// Whether a number chooses, or may be a code of the client that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    Choose,
    AreCodes,
}

impl From<&Wired> for Numbers {
    fn from(wired: &Wired) -> Self {
        match wired.client.kept() {
            // What is kept here has six digits or more.
            Kept::Here => Self::Choose,
            Kept::There => Self::AreCodes,
        }
    }
}

impl Engine {
    /// Every way that the claimant has, in the order of the configuration; of one client, the oldest first.
    pub(super) async fn ways(&self, story: &Story<'_>) -> Result<Vec<Way>, End> {
        let held = self.store.held_by(&story.origin.subscriber).await?;
        let mut ways = Vec::new();
        for wired in self.clients.iter().take(self.choosable) {
            let section = wired.client.section();
            let mut own = held.iter().filter(|known| known.client == section && known.standing == Standing::Active);
            match wired.client.kept() {
                Kept::Here => ways.extend(own.map(|known| Way {
                    section: section.to_owned(),
                    id: Some(known.id.clone()),
                    label: known.label.clone(),
                    is_default: known.is_default,
                    is_sent: known.mechanism == Mechanism::Sent,
                })),
                Kept::There => {
                    let noted = own.next_back();
                    ways.push(Way {
                        section: section.to_owned(),
                        id: None,
                        label: noted.map_or_else(|| wired.title().to_owned(), |known| known.label.clone()),
                        is_default: noted.is_some_and(|known| known.is_default),
                        is_sent: false,
                    });
                }
            }
        }
        Ok(ways)
    }

    /// The client that is asked first, and the story with the authenticator that it is asked about, where that matters: the
    /// claimant's default, else the first that they have, else the first of the configuration.
    pub(super) async fn first_choice<'a>(&self, story: Story<'a>) -> Result<(&Wired, Story<'a>), End> {
        let first = self.first_client()?;
        if self.choosable < 2 && first.client.asks() == Asks::Typed {
            self.note("client", || described(first, "the first of [plugin] clients"));
            return Ok((first, story));
        }
        let ways = self.ways(&story).await?;
        let chosen = ways.iter().find(|way| way.is_default).or_else(|| ways.first());
        let Some((way, wired)) = chosen.and_then(|way| Some((way, self.wired(&way.section)?))) else {
            self.note("client", || described(first, "the first of [plugin] clients; this subscriber has none of them"));
            return Ok((first, story));
        };
        let label = Foreign(&way.label);
        self.note("client", || match way.is_default {
            true => described(wired, &format!("\"{label}\", this subscriber's default")),
            false => described(wired, &format!("\"{label}\", the first that this subscriber has")),
        });
        let id = if way.is_sent { way.id.clone() } else { None };
        Ok((wired, if id.is_some() { story.choosing(id) } else { story }))
    }

    pub(super) fn first_client(&self) -> Result<&Wired, End> {
        let none = || End::Fault(crate::domain::fault::Fault::internal("no_client", "no client is configured"));
        self.clients.first().ok_or_else(none)
    }

    /// The verdict where `?` or a number was typed to choose by; `None` where what was typed is something else, or there
    /// is nothing to choose between. `known` names what is kept of the claimant's identity.
    pub(super) async fn pick(
        &self,
        story: &Story<'_>,
        key: &str,
        numbers: Numbers,
        known: Option<&ChallengeId>,
    ) -> Result<Option<Verdict>, End> {
        let Some(pick) = story.answer(key).and_then(Pick::of) else { return Ok(None) };
        if (numbers == Numbers::AreCodes && pick != Pick::List) || !self.can_ask(story.request) {
            return Ok(None);
        }
        let ways = self.ways(story).await?;
        if ways.len() < 2 {
            return Ok(None);
        }
        self.may_be_asked(story).await?;
        self.note("answer", || "which of several authenticators is chosen".into());
        let chosen = match pick {
            Pick::List => None,
            Pick::Number(number) => number.checked_sub(1).and_then(|index| ways.get(index)),
        };
        match chosen {
            Some(way) => self.choose(story, way).await.map(Some),
            None => self.list(story, &ways, known).await.map(Some),
        }
    }

    /// Asks for the authenticator of `way`.
    async fn choose(&self, story: &Story<'_>, way: &Way) -> Result<Verdict, End> {
        let wired = self.wired(&way.section).ok_or(Denial::ChallengeGone)?;
        let story = story.choosing(way.id.clone());
        self.note("client", || described(wired, &format!("\"{}\", chosen by the claimant", Foreign(&way.label))));
        if wired.client.codes() == Codes::Unable || wired.client.asks() == Asks::Sends {
            return self.start_push(&story, wired, InPlace::Own).await;
        }
        let prompt = Prompt::from(format!("{}: {}", Foreign(&way.label), self.auth.prompt));
        // An id is no secret; it is sealed with the rest.
        let state = ClientState::new(way.id.as_ref().map(|id| id.0.clone().into_bytes()).unwrap_or_default());
        let id = held::new_id().map_err(own_fault)?;
        let held = story.held(id, held::Kind::Chosen, way.section.clone(), prompt, None, state);
        self.ask_held(&story, &held).await
    }

    /// Lists the ways, and asks for a number.
    async fn list(&self, story: &Story<'_>, ways: &[Way], known: Option<&ChallengeId>) -> Result<Verdict, End> {
        let mut text = String::from("Choose one of these:\n");
        for (number, way) in (1..).zip(ways) {
            let mark = if way.is_default { " (default)" } else { "" };
            text.push_str(&format!("  {number}  {}{mark}\n", Foreign(&way.label)));
        }
        text.push_str("Type its number:");
        let prompt = Prompt::new(&text, OTP, None);
        // What was kept of the claimant's identity serves again.
        if let Some(held) = self.find_kept(story, known).await? {
            return self.ask_again(story, &prompt, &held);
        }
        let (id, state) = (held::new_id().map_err(own_fault)?, ClientState::new(Vec::new()));
        let held = story.held(id, held::Kind::Choosing, String::new(), prompt, None, state);
        self.ask_held(story, &held).await
    }

    async fn find_kept(&self, story: &Story<'_>, known: Option<&ChallengeId>) -> Result<Option<Held>, End> {
        match known {
            Some(id) => Ok(self.find(story, id).await?.filter(|held| held.kind == held::Kind::Choosing)),
            None => Ok(None),
        }
    }

    fn ask_again(&self, story: &Story<'_>, prompt: &Prompt, held: &Held) -> Result<Verdict, End> {
        self.ask(story, prompt, Some(&held.id))
    }

    /// Goes on with the authenticator that the claimant chose before.
    pub(super) async fn resume_chosen(&self, story: &Story<'_>, held: Held) -> Result<Verdict, End> {
        let wired = self.wired(&held.section).ok_or(Denial::ChallengeGone)?;
        // An id, or nothing: see `choose`.
        let id = String::from_utf8(held.state.expose().clone()).ok().filter(|id| !id.is_empty()).map(AuthenticatorId);
        let story = story.choosing(id);
        if let Some(verdict) = self.pick(&story, &held.prompt.key, Numbers::Choose, Some(&held.id)).await? {
            return Ok(verdict);
        }
        match self.collect(&story, &held.prompt.key) {
            crate::policy::collect::Step::Verify(code) => self.verify(&story, wired, code, None, InPlace::Own).await,
            crate::policy::collect::Step::Push => self.start_push(&story, wired, InPlace::Own).await,
            crate::policy::collect::Step::Ask => self.ask(&story, &held.prompt, Some(&held.id)),
        }
    }
}

fn described(wired: &Wired, why: &str) -> String {
    let client = &wired.client;
    let push = if client.push() == crate::client::Push::Able { "can push" } else { "cannot push" };
    let codes = match (client.codes(), client.asks()) {
        (Codes::Able, Asks::Typed) => "takes codes",
        (Codes::Able, Asks::Sends) => "takes the codes that it sends",
        (Codes::Unable, _) => "takes no codes",
    };
    format!("[{}], {why}: {codes}, {push}", client.section())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_and_a_short_number_choose() {
        let pick = |typed: &str| Pick::of(&TypedCode::new(typed.into()));
        assert_eq!(
            (pick(" ? "), pick("？"), pick("2"), pick("１２")),
            (Some(Pick::List), Some(Pick::List), Some(Pick::Number(2)), Some(Pick::Number(12)))
        );
        for typed in ["", "123", "123456", "??", "-1", "1.", "a", "٣"] {
            assert_eq!(pick(typed), None, "{typed}");
        }
    }
}
