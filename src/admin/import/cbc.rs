//! AES-128 in CBC mode with PKCS#7 padding, as other systems sealed their secrets. It says nothing of who wrote the
//! ciphertext: callers check a MAC first.

use aes::Aes128;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};

use crate::domain::secret::SecretBytes;

/// How long the key and the initialisation vector are.
pub const BLOCK: usize = 16;

/// What `ciphertext`, an initialisation vector with the blocks behind it, holds; `None` where the key does not fit its
/// padding.
pub fn open(key: &[u8], ciphertext: &[u8]) -> Option<SecretBytes> {
    let (iv, blocks) = ciphertext.split_at_checked(BLOCK)?;
    let cipher = Decryptor::<Aes128>::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(blocks).ok().map(SecretBytes::new)
}
