//! A range of numbers as a regular expression: what a schema can say of a number that is written as text.

/// The decimal numbers from `least` to `most` without leading zeros, as alternatives in brackets.
pub fn between(least: u64, most: u64) -> String {
    let (first, last) = (least.to_string().into_bytes(), most.to_string().into_bytes());
    let of_length = |length: usize| {
        let mut low = vec![b'0'; length];
        low.iter_mut().take(1).for_each(|digit| *digit = b'1');
        let low = if length == first.len() { &first } else { &low };
        let high = if length == last.len() { last.clone() } else { vec![b'9'; length] };
        same_length(low, &high)
    };
    choose(&(first.len()..=last.len()).map(of_length).collect::<Vec<_>>())
}

/// The numbers from `low` to `high`, which have as many digits.
fn same_length(low: &[u8], high: &[u8]) -> String {
    let (Some((l, low)), Some((h, high))) = (low.split_first(), high.split_first()) else { return String::new() };
    let is_whole = low.iter().all(|digit| *digit == b'0') && high.iter().all(|digit| *digit == b'9');
    if is_whole {
        return format!("{}{}", one(*l, *h), any(low.len()));
    }
    if l == h {
        return format!("{}{}", one(*l, *h), same_length(low, high));
    }
    let (nines, zeros) = (vec![b'9'; low.len()], vec![b'0'; high.len()]);
    let mut choices = vec![format!("{}{}", one(*l, *l), same_length(low, &nines))];
    if l + 1 < *h {
        choices.push(format!("{}{}", one(l + 1, h - 1), any(low.len())));
    }
    choices.push(format!("{}{}", one(*h, *h), same_length(&zeros, high)));
    choose(&choices)
}

/// One digit from `low` to `high`.
fn one(low: u8, high: u8) -> String {
    let (low, high) = (char::from(low), char::from(high));
    if low == high { low.to_string() } else { format!("[{low}-{high}]") }
}

/// So many digits.
fn any(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "[0-9]".into(),
        count => format!("[0-9]{{{count}}}"),
    }
}

fn choose(choices: &[String]) -> String {
    format!("(?:{})", choices.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_its_digits() {
        for (least, most, expected) in [
            (0, 0, "(?:0)"),
            (6, 8, "(?:[6-8])"),
            (0, 10, "(?:[0-9]|10)"),
            (1, 300, "(?:[1-9]|[1-9][0-9]|(?:1[0-9][0-9]|2[0-9]{2}|300))"),
            (15, 120, "(?:(?:1[5-9]|[2-8][0-9]|9[0-9])|1(?:0[0-9]|1[0-9]|20))"),
            (100, 999, "(?:[1-9][0-9]{2})"),
        ] {
            assert_eq!(between(least, most), expected);
        }
    }
}
