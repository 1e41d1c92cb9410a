//! What repositories are, seen from their files.

use std::fs;
use std::time::{Duration, Instant};

use source::compose::{Environment, from_detection, is_usable, read};
use source::project::{Certainty, Detected, Detection, Directory, Files, Listing, What, detect};
use tempfile::TempDir;

fn look(files: &[(&str, &str)]) -> Detection {
    detect(&Files::new(files.iter().copied()))
}

/// What was found, in one line each: kind, framework, start, test, port with where it came from.
fn told(files: &[(&str, &str)]) -> Vec<String> {
    look(files).found.iter().map(line).collect()
}

fn line(found: &Detected) -> String {
    let text = |of: &Option<source::project::Suggestion>| {
        of.as_ref().map_or("-".to_owned(), |suggestion| suggestion.text.clone())
    };
    let port = found.port.as_ref().map_or("-".to_owned(), |port| port.port.to_string());
    let framework = found.framework.as_deref().unwrap_or("-");
    let (what, start, test) = (found.what, text(&found.start), text(&found.test));
    format!("{what} | {framework} | {start} | {test} | {port}")
}

/// One repository a line of the table: its files and the first thing found in it.
type Case = (&'static [(&'static str, &'static str)], &'static str);

const TABLE: &[Case] = &[
    // Rust
    (
        &[
            ("Cargo.toml", "[package]\nname='shop'\n[dependencies]\naxum='0.8'"),
            ("src/main.rs", ""),
        ],
        "Rust | axum | ./target/release/shop | cargo test | 3000",
    ),
    (
        &[
            ("Cargo.toml", "[package]\nname='shop'\n[dependencies]\nactix-web='4'"),
            ("src/main.rs", ".bind((\"127.0.0.1\", 9001))"),
        ],
        "Rust | actix | ./target/release/shop | cargo test | 9001",
    ),
    (
        &[
            ("Cargo.toml", "[package]\nname='tiny'"),
            ("Cargo.lock", ""),
            (
                "src/main.rs",
                "let port = env::var(\"PORT\").unwrap_or_else(|_| \"8099\".into()); TcpListener::bind",
            ),
        ],
        "Rust | - | ./target/release/tiny | cargo test --locked | 8099",
    ),
    (
        &[("Cargo.toml", "[package]\nname='tool'"), ("src/main.rs", "fn main() {}")],
        "Rust | - | ./target/release/tool | cargo test | -",
    ),
    (
        &[("Cargo.toml", "[package]\nname='lib'"), ("src/lib.rs", "")],
        "Rust | - | - | cargo test | -",
    ),
    (
        &[
            ("Cargo.toml", "[workspace]\nmembers=['crates/*']"),
            ("crates/api/Cargo.toml", "[package]\nname='api'\n[dependencies]\nrocket='0.5'"),
            ("crates/api/src/main.rs", ""),
            ("crates/base/Cargo.toml", "[package]\nname='base'"),
            ("crates/base/src/lib.rs", ""),
        ],
        "Rust | Rocket | ./target/release/api | cargo test --workspace | 8000",
    ),
    (
        &[
            (
                "Cargo.toml",
                "[package]\nname='x'\ndefault-run='serve'\n[[bin]]\nname='serve'\npath='src/serve.rs'",
            ),
            ("src/main.rs", ""),
        ],
        "Rust | - | ./target/release/serve | cargo test | -",
    ),
    (&[("Cargo.toml", "not = [toml")], "Rust | - | - | cargo test | -"),
    // Node
    (
        &[
            (
                "package.json",
                r#"{"scripts":{"start":"node server.js","test":"node --test"},"dependencies":{"express":"4"}}"#,
            ),
            ("server.js", "app.listen(process.env.PORT || 4000)"),
        ],
        "Node | Express | npm start | npm test | 4000",
    ),
    (
        &[
            (
                "package.json",
                r#"{"scripts":{"start":"next start","build":"next build"},"dependencies":{"next":"15"}}"#,
            ),
            ("pnpm-lock.yaml", ""),
        ],
        "Node | Next.js | pnpm start | - | 3000",
    ),
    (
        &[
            (
                "package.json",
                r#"{"scripts":{"start":"x","test":"jest"},"dependencies":{"fastify":"5"}}"#,
            ),
            ("yarn.lock", ""),
        ],
        "Node | Fastify | yarn start | yarn test | 3000",
    ),
    (
        &[
            (
                "package.json",
                r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#,
            ),
            ("index.js", "require('http').createServer().listen(5050)"),
        ],
        "Node | - | node index.js | - | 5050",
    ),
    (
        &[
            ("package.json", r#"{"main":"srv.js"}"#),
            ("srv.js", "const port = Number(process.env.PORT ?? 3456); createServer()"),
            ("bun.lock", ""),
        ],
        "Node | - | bun srv.js | - | 3456",
    ),
    (&[("package.json", r#"{"name":"lib"}"#)], "Node | - | - | - | -"),
    (&[("package.json", "not json")], "Node | - | - | - | -"),
    (
        &[("package.json", r#"{"scripts":{"build":"vite build"},"devDependencies":{"vite":"6"}}"#)],
        "Node | Vite | npx vite preview --port $PORT | - | 4173",
    ),
    // Deno
    (
        &[
            ("deno.json", r#"{"tasks":{"start":"deno run main.ts"}}"#),
            ("main.ts", "Deno.serve({ port: 8123 }, h)"),
        ],
        "Deno | Deno.serve | deno task start | deno test | 8123",
    ),
    (
        &[("deno.json", "{}"), ("main.ts", "Deno.serve(() => new Response())")],
        "Deno | Deno.serve | deno run --allow-net --allow-env main.ts | deno test | 8000",
    ),
    // Python
    (
        &[
            ("manage.py", ""),
            ("requirements.txt", "Django==5\n"),
            ("shop/wsgi.py", "application = get_wsgi_application()"),
        ],
        "Python | Django | python3 manage.py runserver --noreload 127.0.0.1:$PORT | python3 manage.py test | 8000",
    ),
    (
        &[
            ("manage.py", ""),
            ("requirements.txt", "django\ngunicorn\n"),
            ("shop/wsgi.py", "application = get_wsgi_application()"),
        ],
        "Python | Django | gunicorn --bind 127.0.0.1:$PORT shop.wsgi | python3 manage.py test | 8000",
    ),
    (
        &[
            ("pyproject.toml", "[project]\ndependencies=['fastapi','pytest']"),
            ("uv.lock", ""),
            ("api/main.py", "service = FastAPI()\n"),
        ],
        "Python | FastAPI | uv run uvicorn api.main:service --host 127.0.0.1 --port $PORT | uv run python3 -m pytest | 8000",
    ),
    (
        &[("requirements.txt", "flask\n"), ("app.py", "app = Flask(__name__)\n")],
        "Python | Flask | python3 -m flask --app app:app run --port $PORT | - | 5000",
    ),
    (
        &[("requirements.txt", "flask\ngunicorn\n"), ("web.py", "site: Flask = Flask(__name__)\n")],
        "Python | Flask | gunicorn --bind 127.0.0.1:$PORT web:site | - | 5000",
    ),
    (
        &[
            (
                "server.py",
                "port = int(os.environ.get('PORT', '8042'))\nHTTPServer((h, port), H).serve_forever()",
            ),
            ("test_server.py", ""),
        ],
        "Python | - | python3 server.py | python3 -m unittest discover | 8042",
    ),
    (&[("setup.py", "setup(name='lib')")], "Python | - | - | - | -"),
    (
        &[("Pipfile", "[packages]\naiohttp='*'"), ("main.py", "")],
        "Python | aiohttp | pipenv run python3 main.py | - | 8080",
    ),
    // Go
    (
        &[
            ("go.mod", "module example.com/a/shop\n"),
            ("main.go", "http.ListenAndServe(\":9090\", nil)"),
        ],
        "Go | - | ./bin/shop | go test ./... | 9090",
    ),
    (
        &[
            ("go.mod", "module shop\nrequire github.com/gin-gonic/gin v1\n"),
            ("cmd/api/main.go", ""),
        ],
        "Go | Gin | ./bin/api | go test ./... | 8080",
    ),
    (&[("go.mod", "module lib\n"), ("lib.go", "")], "Go | - | - | go test ./... | -"),
    // Java
    (
        &[
            ("pom.xml", "<artifactId>spring-boot-starter-web</artifactId>"),
            ("mvnw", ""),
            ("src/main/resources/application.properties", "server.port=${PORT:8181}\n"),
        ],
        "Java (Maven) | Spring Boot | exec java -jar target/*.jar | ./mvnw -B test | 8181",
    ),
    (&[("pom.xml", "<project/>")], "Java (Maven) | - | - | mvn -B test | -"),
    (
        &[("build.gradle.kts", "id(\"io.ktor.plugin\")"), ("gradlew", "")],
        "Java (Gradle) | Ktor | ./gradlew run | ./gradlew test | 8080",
    ),
    (&[("build.gradle", "plugins { id 'java' }")], "Java (Gradle) | - | - | gradle test | -"),
    // Ruby
    (
        &[("Gemfile", "gem \"rails\"\n"), ("bin/rails", ""), ("config.ru", "")],
        "Ruby | Rails | bundle exec rails server --binding 127.0.0.1 --port $PORT | bin/rails test | 3000",
    ),
    (
        &[("Gemfile", "gem 'sinatra'\ngem 'rspec'\n"), ("config.ru", "")],
        "Ruby | Sinatra | bundle exec rackup --host 127.0.0.1 --port $PORT | bundle exec rspec | 9292",
    ),
    (&[("config.ru", "")], "Ruby | Rack | rackup --host 127.0.0.1 --port $PORT | - | 9292"),
    (
        &[("Gemfile", "gem 'sinatra'\n"), ("app.rb", "")],
        "Ruby | Sinatra | bundle exec ruby app.rb -p $PORT | - | 4567",
    ),
    // PHP
    (
        &[("composer.json", r#"{"require":{"laravel/framework":"11"}}"#), ("artisan", "")],
        "PHP | Laravel | php artisan serve --host 127.0.0.1 --port $PORT | php artisan test | 8000",
    ),
    (
        &[
            ("composer.json", r#"{"require-dev":{"phpunit/phpunit":"11"}}"#),
            ("public/index.php", ""),
        ],
        "PHP | plain PHP | php -S 127.0.0.1:$PORT -t public | vendor/bin/phpunit | 8000",
    ),
    (&[("index.php", "<?php")], "PHP | plain PHP | php -S 127.0.0.1:$PORT | - | 8000"),
    // Elixir, .NET, static
    (
        &[("mix.exs", "{:phoenix, \"~> 1.7\"}")],
        "Elixir | Phoenix | mix phx.server | mix test | 4000",
    ),
    (&[("mix.exs", "defmodule A")], "Elixir | - | - | mix test | -"),
    (
        &[("Shop.csproj", "<Project Sdk=\"Microsoft.NET.Sdk.Web\">"), ("All.sln", "")],
        ".NET | ASP.NET Core | dotnet run --configuration Release --no-launch-profile --urls http://127.0.0.1:$PORT | dotnet test | 8080",
    ),
    (&[("Lib.fsproj", "<Project Sdk=\"Microsoft.NET.Sdk\">")], ".NET | - | - | dotnet test | -"),
    (
        &[("index.html", "<h1>hi</h1>")],
        "static | - | python3 -m http.server --bind 127.0.0.1 $PORT | - | 8080",
    ),
    // A Dockerfile knows the port better than habit does
    (
        &[
            ("go.mod", "module a\nrequire github.com/labstack/echo v4\n"),
            ("main.go", ""),
            ("Dockerfile", "FROM a\nEXPOSE 1\nFROM b\nEXPOSE 53/udp 7070/tcp\n"),
        ],
        "Go | Echo | ./bin/a | go test ./... | 7070",
    ),
];

#[test]
fn every_kind_of_repository_is_recognised() {
    for (files, expected) in TABLE {
        assert_eq!(told(files).first().map(String::as_str), Some(*expected), "{files:?}");
    }
    assert!(TABLE.len() >= 40, "the table has {} repositories", TABLE.len());
}

#[test]
fn nothing_is_made_up_for_an_empty_repository() {
    let detection = look(&[("README.md", "# hello"), ("notes/a.txt", "")]);
    assert_eq!(detection, Detection::default());
    assert_eq!(detection.workflow(), None);
    assert!(from_detection(&detection, &Environment::default()).is_none());
}

#[test]
fn what_is_guessed_is_said_to_be_guessed() {
    let several = [("Cargo.toml", "[package]\nname='a'\n[[bin]]\nname='b'"), ("src/main.rs", "")];
    let start = look(&several).found[0].start.clone().expect("a start");
    assert_eq!(start.certainty, Certainty::Unsure);
    let written = [("package.json", r#"{"scripts":{"start":"x"}}"#)];
    let start = look(&written).found[0].start.clone().expect("a start");
    assert_eq!((start.certainty, start.from.as_str()), (Certainty::Certain, "package.json"));
    let habit = [("requirements.txt", "flask"), ("app.py", "app = Flask(__name__)")];
    let port = look(&habit).found[0].port.clone().expect("a port");
    assert_eq!(
        (port.certainty, port.from.as_str()),
        (Certainty::Likely, "the usual port of Flask")
    );
}

#[test]
fn the_path_of_the_health_is_found_in_the_sources() {
    let files = [
        ("package.json", r#"{"scripts":{"start":"x"},"dependencies":{"express":"4"}}"#),
        ("src/routes.js", "app.get('/healthz', ok); app.listen(process.env.PORT || 3000)"),
    ];
    let found = &look(&files).found[0];
    let health = found.health.as_ref().expect("a path");
    assert_eq!((health.text.as_str(), health.from.as_str()), ("/healthz", "src/routes.js"));
    let port = found.port.as_ref().expect("a port");
    assert!(port.reads_variable && port.from == "src/routes.js");
    assert_eq!(found.title(), "Node web service (Express)");
}

#[test]
fn workflows_compose_files_and_dockerfiles_are_listed() {
    let detection = look(&[
        (".github/workflows/ci.yml", ""),
        (".github/workflows/notes.md", ""),
        (".github/workflows/deep/x.yml", ""),
        ("docker-compose.yml", ""),
        ("docker-compose.override.yml", ""),
        ("Dockerfile", "FROM x\nENTRYPOINT [\"run\"]\nCMD [\"--to\", \"a b\"]\n"),
    ]);
    assert_eq!(detection.workflows, [".github/workflows/ci.yml"]);
    assert_eq!(detection.compose, ["docker-compose.yml", "docker-compose.override.yml"]);
    assert_eq!(detection.dockerfiles[0].command.as_deref(), Some("run --to 'a b'"));
}

#[test]
fn parts_of_a_repository_are_found_below_its_top() {
    let detection = look(&[
        ("backend/go.mod", "module b\n"),
        ("backend/main.go", "os.Getenv(\"PORT\")"),
        ("web/package.json", r#"{"scripts":{"start":"x"},"dependencies":{"next":"1"}}"#),
        ("web/node/package.json", "{}"),
        ("tests/fixtures/package.json", "{}"),
    ]);
    let found: Vec<_> = detection.found.iter().map(|f| (f.what, f.directory.as_str())).collect();
    assert_eq!(found, [(What::Go, "backend"), (What::Npm, "web")]);
    let names: Vec<_> = detection.services().into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["backend", "web"]);
}

#[test]
fn a_procfile_says_what_runs() {
    let detection = look(&[
        (
            "Procfile",
            "# all\nweb: gunicorn app:app --bind :$PORT\nworker: python3 work.py\nrelease: ./migrate\n",
        ),
        ("requirements.txt", "flask\n"),
        ("app.py", "app = Flask(__name__)"),
    ]);
    let services = detection.services();
    assert_eq!(services.len(), 2);
    assert_eq!((services[0].name.as_str(), services[0].port), ("web", Some(5000)));
    assert_eq!((services[1].name.as_str(), services[1].port), ("worker", None));
    assert_eq!(services[1].before, ["python3 -m pip install -r requirements.txt", "./migrate"]);
    assert_eq!(services[0].from, "Procfile");
}

#[test]
fn every_repository_of_the_table_gives_a_compose_file_and_a_workflow_that_read_well() {
    for (files, expected) in TABLE {
        let detection = look(files);
        let environment = Environment::default().in_directory("shop");
        match from_detection(&detection, &environment) {
            Some((project, file)) => {
                let (_, findings) = read(std::slice::from_ref(&file), &environment);
                assert!(is_usable(&findings), "{}\n{findings:?}", file.text);
                let service = project.services.values().next().expect("a service");
                let command = service.argv().expect("a command").join(" ");
                let start = &detection.services()[0].command;
                assert!(command.ends_with(start.as_str()), "{command} / {start}");
            }
            None => assert!(expected.contains("| - |"), "{expected}"),
        }
        if let Some(workflow) = detection.workflow() {
            let (node, findings) =
                source::yaml::read("ci.yml", &workflow, &source::yaml::Options::default());
            assert_eq!(findings, [], "{workflow}");
            assert!(node.expect("a document").get("jobs").is_some());
        }
    }
}

#[test]
fn the_suggested_files_are_such_as_people_write() {
    let detection = look(&[
        ("requirements.txt", "fastapi\npytest\n"),
        ("main.py", "app = FastAPI()\n@app.get('/healthz')\n"),
    ]);
    let (_, file) = from_detection(&detection, &Environment::default()).expect("a service");
    assert_eq!(
        file.text,
        r#"services:
  web:
    build: .
    command: ["/bin/sh", "-c", "uvicorn main:app --host 127.0.0.1 --port $$PORT"]
    pre_start:
      - command: ["python3", "-m", "pip", "install", "-r", "requirements.txt"]
    ports:
      - {target: 8000, published: "8000", app_protocol: http}
    x-marline: {http: /healthz}
"#
    );
    assert_eq!(
        detection.workflow().expect("a workflow"),
        "name: ci
on: [push, workflow_dispatch]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Prepare
        run: python3 -m pip install -r requirements.txt
      - name: Test
        run: python3 -m pytest
"
    );
}

#[test]
fn a_directory_is_listed_without_what_git_ignores() {
    let dir = TempDir::new().expect("a temporary directory");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    write(".gitignore", "*.log\n/out/\n");
    write("a.log", "");
    write("out/package.json", "{}");
    write("node_modules/x/package.json", "{}");
    write(".github/workflows/ci.yml", "on: push");
    write("package.json", "{}");
    let listing = Directory::walk(dir.path()).expect("a listing");
    let paths: Vec<&str> = listing.paths().iter().map(String::as_str).collect();
    assert_eq!(paths, [".github/workflows/ci.yml", ".gitignore", "package.json"]);
    assert_eq!(listing.read("package.json").as_deref(), Some("{}"));
    assert_eq!(listing.read("../../etc/passwd"), None);
    assert_eq!(listing.read("out/package.json"), None);
}

#[test]
fn five_thousand_files_are_looked_through_in_time() {
    let dir = TempDir::new().expect("a temporary directory");
    for n in 0..50 {
        let sub = dir.path().join(format!("src/m{n}"));
        fs::create_dir_all(&sub).expect("a directory");
        for m in 0..100 {
            fs::write(sub.join(format!("f{m}.js")), "export const x = 1;\n".repeat(20))
                .expect("a file");
        }
    }
    fs::write(
        dir.path().join("package.json"),
        r#"{"scripts":{"start":"x"},"dependencies":{"express":"4"}}"#,
    )
    .expect("a file");
    let start = Instant::now();
    let detection = detect(&Directory::walk(dir.path()).expect("a listing"));
    let took = start.elapsed();
    println!("5,000 files: {took:?}");
    assert_eq!(detection.found.len(), 1);
    // Three times the budget, as tests run beside other work and without optimisation.
    assert!(took < Duration::from_millis(900), "{took:?}");
}

proptest::proptest! {
    #[test]
    fn no_manifest_makes_detection_panic(
        name in "(Cargo.toml|package.json|deno.json|pyproject.toml|go.mod|Dockerfile|Procfile|Gemfile|a.csproj|app.py)",
        text in "[ -~\n]{0,120}",
    ) {
        let detection = look(&[(&name, &text), ("src/main.rs", &text), ("sub/package.json", &text)]);
        let _ = (detection.services(), detection.workflow());
        let _ = from_detection(&detection, &Environment::default());
    }
}
