//! Lines of auth.log.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
// Rules are compiled before the clock of an input runs.
libfuzzer_sys::fuzz_target!(init: { fuzz::login(&[]); }, |bytes: &[u8]| { fuzz::login(bytes); });

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    fuzz::run_files(fuzz::login)
}
