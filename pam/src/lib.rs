//! The second factor of countersign as a PAM module.
