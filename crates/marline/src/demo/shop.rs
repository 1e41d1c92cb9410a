//! The small shop of the demo: three commits of a repository.
//!
//! With python3 the shop is a Python program. Without it, Marline itself plays the shop from the
//! same kind of repository: a `shop.conf` that `marline __shop` serves.

use std::path::Path;

/// One commit of the shop's repository.
pub struct Version {
    /// The commit's message.
    pub message: &'static str,
    /// Every file, by path.
    pub files: Vec<(&'static str, String)>,
}

const SHOP: &str = include_str!("shop/shop.py");
const TESTS: &str = include_str!("shop/test_shop.py");
const WORKFLOW: &str = include_str!("shop/ci.yml");
const COMPOSE: &str = include_str!("shop/compose.yaml");

const TITLE: (&str, &str) = ("The Rope Locker", "The Rope Locker, now with twine");
const COLOUR: (&str, &str) = ("#1f5f8b", "#2e7d4f");

/// The careless change: a cache whose entries are thrown out one too early once it is full, which
/// a few requests in a test never see.
const PRICE: (&str, &str) = (
    r"    names = sorted(PRICES)
    return PRICES[names[cart % len(names)]] * (1 + cart % 3)
",
    r"    if cart not in CACHE:
        names = sorted(PRICES)
        CACHE[cart] = PRICES[names[cart % len(names)]] * (1 + cart % 3)
        if len(CACHE) > 8:
            CACHE.pop(cart)
    return CACHE[cart]


CACHE = {}
",
);

/// Returns the three commits: good, good and visibly different, bad under traffic only.
pub fn versions(port: u16, marline: Option<&Path>) -> [Version; 3] {
    let compose = COMPOSE.replace("@PORT@", &port.to_string());
    let (first, second, third) = match marline {
        None => {
            let second = SHOP.replace(TITLE.0, TITLE.1).replace(COLOUR.0, COLOUR.1);
            let third = second.replace(PRICE.0, PRICE.1);
            let files = |shop: String| {
                vec![
                    ("shop.py", shop),
                    ("test_shop.py", TESTS.to_owned()),
                    (".github/workflows/ci.yml", WORKFLOW.to_owned()),
                    ("compose.yaml", compose.clone()),
                ]
            };
            (files(SHOP.to_owned()), files(second), files(third))
        }
        Some(marline) => {
            let marline = marline.display().to_string();
            let compose = compose
                .replace("python3 shop.py", &format!("[\"{marline}\", \"__shop\", \"shop.conf\"]"));
            let workflow = WORKFLOW
                .replace("python3 -m py_compile shop.py", "test -s shop.conf")
                .replace("python3 -m unittest -q", "grep -q '^title=' shop.conf");
            let files = |conf: String| {
                vec![
                    ("shop.conf", conf),
                    (".github/workflows/ci.yml", workflow.clone()),
                    ("compose.yaml", compose.clone()),
                ]
            };
            let conf =
                |title, colour, cache| format!("title={title}\ncolour={colour}\ncache={cache}\n");
            (
                files(conf(TITLE.0, COLOUR.0, "none")),
                files(conf(TITLE.1, COLOUR.1, "none")),
                files(conf(TITLE.1, COLOUR.1, "8")),
            )
        }
    };
    [
        Version { message: "open the shop", files: first },
        Version { message: "sell twine, in green", files: second },
        Version { message: "remember prices of carts", files: third },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_differs_from_the_one_before() {
        for marline in [None, Some(Path::new("/usr/bin/marline"))] {
            let [first, second, third] = versions(8000, marline);
            assert_ne!(first.files, second.files);
            assert_ne!(second.files, third.files);
        }
    }
}
