use gpuscale::api;
#[test]
fn x() {
    let mut f: Vec<_> = std::fs::read_dir("tests/fixtures/broken")
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    f.sort();
    for p in f {
        let r = api::validate(&std::fs::read_to_string(&p).unwrap());
        match r {
            Ok(_) => println!("{p:?} OK!!"),
            Err(e) => println!("{p:?} {e}"),
        }
    }
}
