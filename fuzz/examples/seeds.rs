//! Writes what the targets begin with, a folder each, into the folder that is named.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = env::args_os()
        .nth(1)
        .ok_or_else(|| io::Error::other("no folder is named"))?;
    for (target, inputs) in fuzz::seeds::all()? {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        for (number, input) in inputs.iter().enumerate() {
            fs::write(folder.join(number.to_string()), input)?;
        }
    }
    Ok(())
}
