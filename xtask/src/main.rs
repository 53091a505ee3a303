//! Every developer command of Tocsin.

fn main() {}
