//! Texts packed one behind the other, for the store.

/// Texts that are being packed.
#[derive(Default)]
pub struct Parcel(Vec<u8>);

impl Parcel {
    /// Puts a text behind the others.
    pub fn put(&mut self, text: &str) {
        self.put_option(Some(text));
    }

    /// The same for a text that may not be there.
    pub fn put_option(&mut self, text: Option<&str>) {
        // The length and one; 0 for none.
        let length = text.map_or(0, |text| u32::try_from(text.len()).unwrap_or(u32::MAX).saturating_add(1));
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.unwrap_or_default().as_bytes());
    }

    /// What was packed.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// What was packed, to be taken out in the same order.
pub struct Parts<'a>(pub &'a [u8]);

impl<'a> Parts<'a> {
    /// The next text; `None` where there is none or what is left is no parcel.
    pub fn take(&mut self) -> Option<&'a str> {
        self.take_option()?
    }

    /// The next text that may not be there; `None` where what is left is no parcel.
    pub fn take_option(&mut self) -> Option<Option<&'a str>> {
        let (length, behind) = self.0.split_first_chunk::<4>()?;
        let Some(length) = u32::from_be_bytes(*length).checked_sub(1) else {
            self.0 = behind;
            return Some(None);
        };
        let (text, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = behind;
        std::str::from_utf8(text).ok().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_what_is_cut_off_does_not() {
        let mut parcel = Parcel::default();
        parcel.put("a");
        parcel.put_option(None);
        parcel.put("");
        parcel.put("ž");
        let bytes = parcel.into_bytes();
        let mut parts = Parts(&bytes);
        assert_eq!(parts.take(), Some("a"));
        assert_eq!(parts.take_option(), Some(None));
        assert_eq!((parts.take(), parts.take(), parts.take()), (Some(""), Some("ž"), None));
        for end in 0..bytes.len() {
            let mut parts = Parts(&bytes[..end]);
            let taken: Vec<_> = std::iter::from_fn(|| parts.take_option()).collect();
            assert!(taken.len() < 4, "{end}");
        }
    }
}
