//! The request of a step, with the values in their places.

use zeroize::Zeroizing;

use super::super::ClientError;
use super::super::http::header::ACCEPT;
use super::super::http::{Body, Call, Method};
use super::facts::Facts;
use super::{GenericClient, Obstacle};
use crate::config::http::request::{Target, Verb};
use crate::config::http::template::Template;
use crate::config::http::{ResponseForm, Step};
use crate::domain::secret::Secret;

impl GenericClient {
    pub(super) fn call(&self, step: &Step, facts: &Facts<'_>) -> Result<Call, Obstacle> {
        let value = |name: &str| facts.value(name);
        let fill = |template: &Template| template.fill(value).ok_or(Obstacle::Gone);
        let secret = |text: Zeroizing<String>| Secret::new(text.as_str().to_owned());
        let mut url = self.address(&step.request.target, facts)?;
        if let Some(pairs) = &step.query.0 {
            let pairs =
                pairs.0.iter().map(|(name, value)| Ok((name, fill(value)?))).collect::<Result<Vec<_>, Obstacle>>()?;
            url.query_pairs_mut().extend_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
        let mut call = Call::new(method(step.request.verb), url);
        let accept = match self.service.response {
            ResponseForm::Json | ResponseForm::Verdict => None,
            ResponseForm::KvLines => Some("text/plain"),
            ResponseForm::Form => Some("application/x-www-form-urlencoded"),
        };
        let headers = step.headers.0.iter().flat_map(|headers| &headers.0);
        let says_itself = headers.clone().any(|(name, _)| name == ACCEPT.as_str());
        if let Some(accept) = accept.filter(|_| !says_itself) {
            call = call.header(ACCEPT.as_str(), Secret::new(accept.to_owned()));
        }
        for (name, value) in headers {
            call = call.header(name.clone(), secret(fill(value)?));
        }
        if let Some(pairs) = &step.form.0 {
            let pair = |(name, value): &(String, Template)| Ok((name.clone(), secret(fill(value)?)));
            return Ok(call.body(Body::Form(pairs.0.iter().map(pair).collect::<Result<_, Obstacle>>()?)));
        }
        Ok(match &step.json.0 {
            Some(json) => call.body(Body::Json(secret(json.fill(&value).ok_or(Obstacle::Gone)?))),
            None => call,
        })
    }

    fn address(&self, target: &Target, facts: &Facts<'_>) -> Result<url::Url, Obstacle> {
        let (segments, slash) = match target {
            Target::Link(name) => {
                let url = facts.value(name).and_then(|link| url::Url::parse(link).ok());
                return url.filter(|url| self.http.is_origin_of(url)).ok_or(Obstacle::Gone);
            }
            Target::Path { segments, slash } => (segments, *slash),
        };
        let filled = segments.iter().map(|segment| segment.fill(|name| facts.value(name)).ok_or(Obstacle::Gone));
        let filled = filled.collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&str> = filled.iter().map(|text| text.as_str()).collect();
        let url = if texts.is_empty() { Some(self.http.base().clone()) } else { self.http.url(&texts) };
        let mut url = url.ok_or_else(|| {
            let is_unfit = |text: &str| matches!(text, "" | "." | "..");
            let mut unfit = segments.iter().zip(&texts).filter(|(_, text)| is_unfit(text)).map(|(segment, _)| segment);
            if unfit.any(|segment| segment.placeholders().any(|name| name == "user")) {
                return Obstacle::Name;
            }
            let text = "what was captured cannot be part of an address";
            Obstacle::Error(ClientError::unexpected(text))
        })?;
        if slash && let Ok(mut path) = url.path_segments_mut() {
            path.push("");
        }
        Ok(url)
    }
}

const fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
    }
}
