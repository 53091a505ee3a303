//! The `tocsin` command.

fn main() {
    let mut k = tocsin::sources::kernel::Kernel::attach(None).unwrap();
    for s in &k.sensors {
        println!("{} {:?}", s.sensor.name, s.refused);
    }
    println!("missing {:?}", k.missing_fields);
    let mut r = k.into_reader().unwrap();
    let mut d = tocsin::sources::kernel::Decoder::new(tocsin::sources::kernel::Clock::now());
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        for e in r.drain(&mut d) {
            println!("{e:?}");
        }
    }
    println!("broken {}", d.broken);
}
