//! The smallest Rust program: what any process of this language costs before it does anything.

fn main() {}
