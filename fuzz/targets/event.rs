//! Recorded events.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
// Rules are compiled before the clock of an input runs.
libfuzzer_sys::fuzz_target!(init: { fuzz::event(&[]); }, |bytes: &[u8]| { fuzz::event(bytes); });

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    fuzz::run_files(fuzz::event)
}
