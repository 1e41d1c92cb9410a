//! The shim by itself, for the tests of engines; the product has it inside `marline`.

fn main() {
    sandbox::entry();
    deploy::shim::main(std::env::args_os().skip(2))
}
