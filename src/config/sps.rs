//! What the plugins of SPS make of values that no type of ours takes.

use super::ini::Section;
use super::mistake::Mistakes;

/// What was said, and is put in when everything else was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relaxed {
    /// The question for the second factor has no words.
    pub is_prompt_empty: bool,
}

/// Makes the values in `sections` such as our types take, with a warning for each.
pub fn relax(sections: &mut [Section], mistakes: &mut Mistakes) -> Relaxed {
    let mut relaxed = Relaxed::default();
    for section in sections {
        for entry in &mut section.entries {
            let is_list = matches!(
                (section.name.as_str(), entry.name.as_str()),
                ("auth", "interactive_protocols") | ("whitelist source=ldap_server_group", "except")
            );
            let is_named = |item: &&str| !item.trim().is_empty();
            if is_list
                && entry.value.split(',').any(|item| is_named(&item))
                && !entry.value.split(',').all(|i| is_named(&i))
            {
                let text = "has a comma too many; what is empty between two is passed over";
                mistakes.warn_at_option(entry.line, &section.name, &entry.name, text);
                entry.value = entry.value.split(',').filter(is_named).collect::<Vec<_>>().join(",");
            }
        }
        if section.name == "auth"
            && let Some(index) = section.entries.iter().position(|e| e.name == "prompt" && e.value.is_empty())
        {
            let prompt = section.entries.remove(index);
            mistakes.warn_at_option(prompt.line, "auth", "prompt", "is empty: a question without words");
            relaxed.is_prompt_empty = true;
        }
    }
    relaxed
}
