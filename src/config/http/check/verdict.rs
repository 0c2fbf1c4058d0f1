//! The same for a service that decides in countersign's words: which steps it can have, and that they have no rules.

use super::{Check, Place};
use crate::config::http::{HttpService, ResponseForm, Step, StepName};

impl Check<'_> {
    /// Which steps there are.
    pub(super) fn verdict_steps(&mut self) {
        let main = &self.main.name;
        let decides = [StepName::Otp, StepName::PushStart, StepName::Authorize];
        if !decides.into_iter().any(|step| self.has(step)) {
            let text =
                format_args!("[{main}]: has no step; write [{main} otp], [{main} push_start] or [{main} authorize]");
            self.mistakes.at_line(self.main.line, text);
        }
        if self.has(StepName::Answer) && !self.has(StepName::Otp) && !self.has(StepName::PushStart) {
            let text = format!("[{main} answer]: nothing asks: there is neither [{main} otp] nor [{main} push_start]");
            self.mistakes.at_line(self.sections.get(&StepName::Answer).map_or(self.main.line, |s| s.line), text);
        }
        for (name, section) in self.sections {
            let word = name.word();
            let text = match name {
                StepName::Otp | StepName::Answer | StepName::PushStart | StepName::Authorize => continue,
                StepName::OtpStart => "the service asks for a code by need_info",
                StepName::PushSend | StepName::PushPoll | StepName::Finalize | StepName::Cancel => {
                    "push_start is all of a push"
                }
            };
            let text = format!("[{main} {word}]: is never sent with response = verdict: {text}");
            self.mistakes.at_line(section.line, text);
        }
    }

    /// What would say twice, and otherwise, what the answer says itself.
    pub(super) fn verdict_rules(&mut self, name: StepName, step: &Step) {
        let rules: Vec<&'static str> = step.rules().map(|(option, _)| option).collect();
        let others = [
            ("message", step.message.0.is_some()),
            ("capture", step.capture.0.is_some()),
            ("echo", step.echo.0.is_some()),
            ("show", step.show.0.is_some()),
        ];
        let others = others.into_iter().filter_map(|(option, is_there)| is_there.then_some(option));
        for option in rules.into_iter().chain(others) {
            self.note(name, option, "is not used with response = verdict: the answer says all of it");
        }
    }
}

/// Whether `placeholder` is what the service wants back with an answer.
pub(super) fn is_state(service: &HttpService, step: StepName, place: Place, placeholder: &str) -> bool {
    let answers = match step {
        StepName::Otp | StepName::Answer | StepName::Authorize => true,
        StepName::OtpStart
        | StepName::PushStart
        | StepName::PushSend
        | StepName::PushPoll
        | StepName::Finalize
        | StepName::Cancel => false,
    };
    service.response == ResponseForm::Verdict && place == Place::Body && placeholder == "state" && answers
}
