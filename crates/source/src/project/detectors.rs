//! One detector for each tool: what gives it away and what it usually runs.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::sources::Sources;
use super::{Certainty, Detected, Dockerfile, Listing, PortGuess, Suggestion, What};
use Certainty::{Certain, Likely, Unsure};

/// How deep below the top something of its own may lie.
const MAX_DEPTH: usize = 2;

/// The files that give a tool away.
const MANIFESTS: [&str; 19] = [
    "Cargo.toml",
    "package.json",
    "deno.json",
    "deno.jsonc",
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
    "Pipfile",
    "go.mod",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "Gemfile",
    "config.ru",
    "composer.json",
    "index.php",
    "mix.exs",
    "index.html",
    "manage.py",
];

/// Returns the directories that may hold something: the top first, then what lies below it.
pub(super) fn directories(listing: &dyn Listing) -> Vec<String> {
    let mut found: BTreeSet<(usize, String)> = BTreeSet::from([(0, String::new())]);
    for path in listing.paths() {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let depth = path.matches('/').count();
        let aside = ["test", "fixture", "example", "doc", "bench", ".github", "template"];
        if depth <= MAX_DEPTH
            && (MANIFESTS.contains(&name) || is_dotnet(name))
            && !aside.iter().any(|word| directory.to_lowercase().contains(word))
        {
            found.insert((depth, directory.to_owned()));
        }
    }
    found.into_iter().map(|(_, directory)| directory).collect()
}

/// Adds what one directory holds.
pub(super) fn detect_in(
    listing: &dyn Listing,
    directory: &str,
    dockerfiles: &[Dockerfile],
    found: &mut Vec<Detected>,
) {
    let folder = Folder { listing, directory };
    let detectors =
        [cargo, deno, npm, python, go, maven, gradle, ruby, php, elixir, dotnet, static_site];
    for detect in detectors {
        let Some(mut detected) = detect(&folder) else { continue };
        // A member of a workspace belongs to what was found above it.
        let is_part = found.iter().any(|known| {
            known.what == detected.what
                && (known.directory.is_empty()
                    || directory.starts_with(&format!("{}/", known.directory)))
        });
        // A page inside a program is one of its files.
        let has_other = !found.is_empty() && detected.what == What::StaticSite;
        if is_part || has_other {
            continue;
        }
        let image = dockerfiles.iter().find(|file| parent(&file.path) == directory);
        if let Some((file, port)) = image.and_then(|file| Some((file, file.port?)))
            && detected.port.as_ref().is_none_or(|port| port.certainty < Certain)
        {
            let reads_variable = detected.port.is_some_and(|port| port.reads_variable);
            let from = file.path.clone();
            detected.port = Some(PortGuess { port, from, certainty: Certain, reads_variable });
        }
        found.push(detected);
    }
}

/// A directory being looked at.
struct Folder<'a> {
    listing: &'a dyn Listing,
    directory: &'a str,
}

impl Folder<'_> {
    fn path(&self, name: &str) -> String {
        if self.directory.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.directory)
        }
    }

    fn has(&self, name: &str) -> bool {
        self.listing.paths().contains(&self.path(name))
    }

    fn read(&self, name: &str) -> Option<String> {
        self.listing.read(&self.path(name))
    }

    fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// Whether some file below lies in the directory or has the ending.
    fn any(&self, fits: impl Fn(&str) -> bool) -> bool {
        let prefix = self.path("");
        self.listing.paths().iter().any(|path| path.strip_prefix(&prefix).is_some_and(&fits))
    }

    fn sources(&self, endings: &[&str]) -> Sources {
        Sources::read(self.listing, self.directory, endings)
    }

    fn found(&self, what: What, manifest: &str) -> Detected {
        Detected {
            what,
            framework: None,
            from: self.path(manifest),
            directory: self.directory.to_owned(),
            start: None,
            test: None,
            build: None,
            port: None,
            health: None,
        }
    }

    fn say(&self, text: impl Into<String>, from: &str, certainty: Certainty) -> Option<Suggestion> {
        Some(Suggestion { text: text.into(), from: self.path(from), certainty })
    }
}

/// Fills in what the sources give away; for a known framework its habits where they do not.
fn serve(detected: &mut Detected, framework: Option<(&str, u16)>, sources: Sources) {
    detected.health = sources.health;
    detected.port = sources.port;
    let Some((name, port)) = framework else {
        // A program that looks at `PORT` is a server, whichever port it takes without it.
        if detected.port.is_none() && sources.reads_port {
            detected.port = Some(PortGuess {
                port: 8080,
                from: detected.from.clone(),
                certainty: Unsure,
                reads_variable: true,
            });
        }
        return;
    };
    detected.framework = Some(name.to_owned());
    if detected.port.is_none() {
        detected.port = Some(PortGuess {
            port,
            from: format!("the usual port of {name}"),
            certainty: Likely,
            reads_variable: sources.reads_port,
        });
    }
}

/// Picks the first framework whose package is named in a text of dependencies.
fn framework<'a>(
    known: &[(&str, &'a str, u16)],
    has: impl Fn(&str) -> bool,
) -> Option<(&'a str, u16)> {
    known.iter().find(|(package, ..)| has(package)).map(|(_, name, port)| (*name, *port))
}

fn cargo(folder: &Folder) -> Option<Detected> {
    let text = folder.read("Cargo.toml")?;
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let mut detected = folder.found(What::Cargo, "Cargo.toml");
    let is_workspace = manifest.contains_key("workspace");
    let locked = if folder.has("Cargo.lock") { " --locked" } else { "" };
    let all = if is_workspace { " --workspace" } else { "" };
    detected.test = folder.say(format!("cargo test{locked}{all}"), "Cargo.toml", Likely);

    let mut programs = programs_of(folder, &manifest);
    let mut certainty = Certain;
    if programs.is_empty() && is_workspace {
        programs = workspace_programs(folder);
        certainty = if programs.len() == 1 { Likely } else { Unsure };
    }
    let default = manifest
        .get("package")
        .and_then(|package| package.get("default-run")?.as_str().map(str::to_owned));
    if programs.len() > 1 && default.is_none() {
        certainty = Unsure;
    }
    let Some(program) = default.or_else(|| programs.into_iter().next()) else {
        detected.build = folder.say(format!("cargo build{locked}"), "Cargo.toml", Likely);
        return Some(detected);
    };
    let build = format!("cargo build --release{locked} --bin {program}");
    detected.build = folder.say(build, "Cargo.toml", Likely);
    detected.start = folder.say(format!("./target/release/{program}"), "Cargo.toml", certainty);
    let mut dependencies = dependency_names(&manifest);
    if is_workspace {
        for path in folder.listing.paths().iter().filter(|path| path.ends_with("/Cargo.toml")) {
            let member = folder.listing.read(path).and_then(|text| text.parse().ok());
            dependencies.extend(member.iter().flat_map(dependency_names));
        }
    }
    let known = [
        ("axum", "axum", 3000),
        ("actix-web", "actix", 8080),
        ("rocket", "Rocket", 8000),
        ("warp", "warp", 3030),
        ("poem", "poem", 3000),
        ("tide", "tide", 8080),
        ("salvo", "salvo", 8080),
        ("leptos_axum", "Leptos", 3000),
        ("tonic", "tonic", 50051),
        ("hyper", "hyper", 3000),
    ];
    let framework = framework(&known, |package| dependencies.contains(package));
    let sources = folder.sources(&[".rs"]);
    // Addresses in a program without a framework are as often those it calls.
    let listens = framework.is_some() || sources.reads_port || sources.has("TcpListener").is_some();
    if listens {
        serve(&mut detected, framework, sources);
    }
    Some(detected)
}

/// Returns the programs of one package.
fn programs_of(folder: &Folder, manifest: &toml::Table) -> Vec<String> {
    let Some(package) = manifest.get("package").and_then(|package| package.get("name")) else {
        return Vec::new();
    };
    let mut programs = Vec::new();
    if folder.has("src/main.rs") {
        programs.extend(package.as_str().map(str::to_owned));
    }
    let named = manifest.get("bin").and_then(toml::Value::as_array);
    for program in named.into_iter().flatten() {
        let name = program.get("name").and_then(toml::Value::as_str).map(str::to_owned);
        let is_main = program.get("path").and_then(toml::Value::as_str) == Some("src/main.rs");
        if is_main {
            programs.clear();
        }
        programs.extend(name.filter(|name| !programs.contains(name)));
    }
    programs
}

fn workspace_programs(folder: &Folder) -> Vec<String> {
    let prefix = folder.path("");
    let members = folder.listing.paths().iter().filter(|path| {
        path.strip_prefix(&prefix).is_some_and(|rest| {
            rest.ends_with("/Cargo.toml") && rest.matches('/').count() <= MAX_DEPTH
        })
    });
    let programs = members.filter_map(|path| {
        let manifest: toml::Table = folder.listing.read(path)?.parse().ok()?;
        let member = Folder { listing: folder.listing, directory: parent(path) };
        programs_of(&member, &manifest).into_iter().next()
    });
    programs.collect()
}

fn dependency_names(manifest: &toml::Table) -> BTreeSet<String> {
    let direct = manifest.get("dependencies").and_then(toml::Value::as_table);
    let shared =
        manifest.get("workspace").and_then(|workspace| workspace.get("dependencies")?.as_table());
    [direct, shared].into_iter().flatten().flat_map(|table| table.keys().cloned()).collect()
}

fn npm(folder: &Folder) -> Option<Detected> {
    let text = folder.read("package.json")?;
    let manifest: Json = serde_json::from_str(&text).unwrap_or_default();
    let mut detected = folder.found(What::Npm, "package.json");
    let field = |name: &str| {
        manifest.get("packageManager").and_then(Json::as_str).is_some_and(|m| m.starts_with(name))
    };
    let (run, install) = if field("pnpm") || folder.has("pnpm-lock.yaml") {
        ("pnpm", "pnpm install --frozen-lockfile")
    } else if field("yarn") || folder.has("yarn.lock") {
        ("yarn", "yarn install --frozen-lockfile")
    } else if field("bun") || folder.first(&["bun.lockb", "bun.lock"]).is_some() {
        ("bun", "bun install --frozen-lockfile")
    } else if folder.has("package-lock.json") {
        ("npm", "npm ci")
    } else {
        ("npm", "npm install")
    };
    let script = |name: &str| manifest.get("scripts")?.get(name)?.as_str();
    let has_dependencies = ["dependencies", "devDependencies"].iter().any(|key| {
        manifest.get(key).and_then(Json::as_object).is_some_and(|list| !list.is_empty())
    });
    let build = script("build").map(|_| format!("{run} run build"));
    let steps: Vec<String> =
        has_dependencies.then(|| install.to_owned()).into_iter().chain(build).collect();
    if !steps.is_empty() {
        detected.build = folder.say(steps.join(" && "), "package.json", Likely);
    }
    if script("test").is_some_and(|test| !test.contains("no test specified")) {
        detected.test = folder.say(format!("{run} test"), "package.json", Certain);
    }
    let main = manifest.get("main").and_then(Json::as_str).filter(|main| folder.has(main));
    let runtime = if run == "bun" { "bun" } else { "node" };
    detected.start = match (script("start"), main) {
        (Some(_), _) => folder.say(format!("{run} start"), "package.json", Certain),
        (None, Some(main)) => folder.say(format!("{runtime} {main}"), "package.json", Likely),
        (None, None) => folder
            .first(&["server.js", "index.js", "app.js", "main.js", "server.ts", "index.ts"])
            .and_then(|file| folder.say(format!("{runtime} {file}"), file, Likely)),
    };
    let depends = |package: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|key| manifest.get(key).and_then(|list| list.get(package)).is_some())
    };
    let known = [
        ("next", "Next.js", 3000),
        ("nuxt", "Nuxt", 3000),
        ("@remix-run/serve", "Remix", 3000),
        ("@sveltejs/kit", "SvelteKit", 3000),
        ("astro", "Astro", 4321),
        ("@nestjs/core", "NestJS", 3000),
        ("fastify", "Fastify", 3000),
        ("express", "Express", 3000),
        ("koa", "Koa", 3000),
        ("hono", "Hono", 3000),
        ("@hapi/hapi", "hapi", 3000),
        ("vite", "Vite", 4173),
        ("react-scripts", "Create React App", 3000),
    ];
    let framework = framework(&known, depends);
    if detected.start.is_none()
        && framework.is_some_and(|(name, _)| name == "Vite" || name == "Astro")
    {
        let command = if depends("vite") {
            "npx vite preview --port $PORT"
        } else {
            "npx astro preview --port $PORT"
        };
        detected.start = folder.say(command, "package.json", Unsure);
    }
    let sources = folder.sources(&[".js", ".ts", ".mjs", ".cjs"]);
    let is_server = framework.is_some()
        || sources.reads_port
        || sources.has("createServer").is_some()
        || sources.has("Bun.serve").is_some();
    if is_server && detected.start.is_some() {
        serve(&mut detected, framework, sources);
    } else if let Some((name, _)) = framework {
        detected.framework = Some(name.to_owned());
    }
    Some(detected)
}

fn deno(folder: &Folder) -> Option<Detected> {
    let manifest = folder.first(&["deno.json", "deno.jsonc"])?;
    let mut detected = folder.found(What::Deno, manifest);
    let json: Json =
        folder.read(manifest).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let task = |name: &str| json.get("tasks").and_then(|tasks| tasks.get(name)).is_some();
    let main = folder.first(&["main.ts", "server.ts", "mod.ts", "index.ts"]);
    detected.start = if task("start") {
        folder.say("deno task start", manifest, Certain)
    } else {
        main.and_then(|main| {
            folder.say(format!("deno run --allow-net --allow-env {main}"), main, Likely)
        })
    };
    detected.test = if task("test") {
        folder.say("deno task test", manifest, Certain)
    } else {
        folder.say("deno test", manifest, Likely)
    };
    let sources = folder.sources(&[".ts", ".tsx", ".js"]);
    let fresh = json.get("imports").is_some_and(|imports| imports.to_string().contains("fresh"));
    let serves = sources.has("Deno.serve").or(sources.has("export default {")).is_some();
    if fresh {
        serve(&mut detected, Some(("Fresh", 8000)), sources);
    } else if serves {
        serve(&mut detected, Some(("Deno.serve", 8000)), sources);
    } else if sources.reads_port {
        serve(&mut detected, None, sources);
    }
    Some(detected)
}

fn python(folder: &Folder) -> Option<Detected> {
    let manifests = ["pyproject.toml", "requirements.txt", "Pipfile", "setup.py", "manage.py"];
    let programs = ["main.py", "app.py", "server.py", "run.py", "__main__.py"];
    let manifest = folder.first(&manifests).or_else(|| folder.first(&programs))?;
    let mut detected = folder.found(What::Python, manifest);
    let named: String =
        manifests.iter().filter_map(|name| folder.read(name)).collect::<String>().to_lowercase();
    let run = if folder.has("uv.lock") {
        "uv run "
    } else if folder.has("poetry.lock") {
        "poetry run "
    } else if folder.has("Pipfile") {
        "pipenv run "
    } else {
        ""
    };
    let install = match (run, manifest) {
        ("uv run ", _) => "uv sync --frozen",
        ("poetry run ", _) => "poetry install",
        ("pipenv run ", _) => "pipenv install --deploy",
        _ if folder.has("requirements.txt") => "python3 -m pip install -r requirements.txt",
        _ => "python3 -m pip install .",
    };
    let has_dependencies =
        !run.is_empty() || named.contains("dependencies") || !named.trim().is_empty();
    if has_dependencies && manifest != "manage.py" && !programs.contains(&manifest) {
        detected.build = folder.say(install, manifest, Likely);
    }
    let is_django = folder.has("manage.py");
    let has_tests = folder.any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.strip_suffix(".py");
        stem.is_some_and(|stem| stem.starts_with("test_") || stem.ends_with("_test"))
    });
    detected.test = if named.contains("pytest") {
        folder.say(format!("{run}python3 -m pytest"), manifest, Likely)
    } else if is_django {
        folder.say(format!("{run}python3 manage.py test"), "manage.py", Likely)
    } else if has_tests {
        folder.say(format!("{run}python3 -m unittest discover"), manifest, Unsure)
    } else {
        None
    };

    let sources = folder.sources(&[".py"]);
    let module_of = |pattern: &str| {
        let path = sources.has(pattern)?;
        let inside = path.strip_prefix(&folder.path("")).unwrap_or(path);
        let module = inside.strip_suffix(".py")?.replace('/', ".");
        Some((path.to_owned(), module.strip_suffix(".__init__").unwrap_or(&module).to_owned()))
    };
    let variable_of = |module: &(String, String), class: &str| {
        let text = sources.texts.iter().find(|(path, _)| *path == module.0)?;
        let line = text.1.lines().find(|line| line.contains(class) && line.contains('='))?;
        let name = line.split('=').next()?.split(':').next()?.trim();
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| name.to_owned())
    };
    let asgi = [("FastAPI(", "FastAPI"), ("Starlette(", "Starlette"), ("Litestar(", "Litestar")];
    let asgi = asgi.iter().find_map(|(class, name)| Some((module_of(class)?, *class, *name)));
    if is_django {
        detected.start = if named.contains("gunicorn")
            && let Some((_, module)) = module_of("get_wsgi_application(")
        {
            folder.say(
                format!("{run}gunicorn --bind 127.0.0.1:$PORT {module}"),
                "manage.py",
                Likely,
            )
        } else {
            folder.say(
                format!("{run}python3 manage.py runserver --noreload 127.0.0.1:$PORT"),
                "manage.py",
                Likely,
            )
        };
        serve(&mut detected, Some(("Django", 8000)), Sources { port: None, ..sources });
        set_reads_port(&mut detected);
    } else if let Some((module, class, name)) = asgi {
        let variable = variable_of(&module, class).unwrap_or_else(|| "app".into());
        let command = format!("{run}uvicorn {}:{variable} --host 127.0.0.1 --port $PORT", module.1);
        detected.start =
            Some(Suggestion { text: command, from: module.0.clone(), certainty: Likely });
        serve(&mut detected, Some((name, 8000)), sources);
        set_reads_port(&mut detected);
    } else if let Some(module) = module_of("Flask(") {
        let variable = variable_of(&module, "Flask(").unwrap_or_else(|| "app".into());
        let command = if named.contains("gunicorn") {
            format!("{run}gunicorn --bind 127.0.0.1:$PORT {}:{variable}", module.1)
        } else {
            format!("{run}python3 -m flask --app {}:{variable} run --port $PORT", module.1)
        };
        detected.start =
            Some(Suggestion { text: command, from: module.0.clone(), certainty: Likely });
        serve(&mut detected, Some(("Flask", 5000)), sources);
        set_reads_port(&mut detected);
    } else if let Some(main) = folder.first(&programs) {
        detected.start = folder.say(format!("{run}python3 {main}"), main, Likely);
        let known = [
            ("aiohttp", "aiohttp", 8080),
            ("tornado", "Tornado", 8888),
            ("bottle", "Bottle", 8080),
        ];
        let framework = framework(&known, |package| named.contains(package));
        let serves = sources.has("HTTPServer(").or(sources.has("serve_forever")).is_some();
        if framework.is_some() || serves || sources.reads_port {
            serve(&mut detected, framework, sources);
        }
    }
    Some(detected)
}

/// Notes that the start command itself hands over `$PORT`.
fn set_reads_port(detected: &mut Detected) {
    if let Some(port) = &mut detected.port {
        port.reads_variable = true;
    }
}

fn go(folder: &Folder) -> Option<Detected> {
    let manifest = folder.read("go.mod")?;
    let mut detected = folder.found(What::Go, "go.mod");
    detected.test = folder.say("go test ./...", "go.mod", Likely);
    let prefix = folder.path("cmd/");
    let command = folder.listing.paths().iter().find_map(|path| {
        let rest = path.strip_prefix(&prefix)?;
        rest.strip_suffix("/main.go").filter(|name| !name.contains('/')).map(str::to_owned)
    });
    let module = manifest.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or("app");
    let last = module.trim().rsplit('/').next().unwrap_or("app");
    let (package, name, certainty) = if folder.has("main.go") {
        (".".to_owned(), last.to_owned(), Certain)
    } else if let Some(command) = command {
        (format!("./cmd/{command}"), command, Likely)
    } else {
        detected.build = folder.say("go build ./...", "go.mod", Likely);
        return Some(detected);
    };
    detected.build = folder.say(format!("go build -o bin/{name} {package}"), "go.mod", Likely);
    detected.start = folder.say(format!("./bin/{name}"), "go.mod", certainty);
    let known = [
        ("github.com/gin-gonic/gin", "Gin", 8080),
        ("github.com/labstack/echo", "Echo", 8080),
        ("github.com/gofiber/fiber", "Fiber", 3000),
        ("github.com/go-chi/chi", "chi", 8080),
    ];
    let framework = framework(&known, |package| manifest.contains(package));
    let sources = folder.sources(&[".go"]);
    let listens = ["ListenAndServe", "http.Serve", "net.Listen"];
    if framework.is_some() || sources.reads_port || listens.iter().any(|l| sources.has(l).is_some())
    {
        serve(&mut detected, framework, sources);
    }
    Some(detected)
}

fn java_framework(manifest: &str) -> Option<(&'static str, u16)> {
    let known = [
        ("spring-boot", "Spring Boot", 8080),
        ("org.springframework.boot", "Spring Boot", 8080),
        ("quarkus", "Quarkus", 8080),
        ("micronaut", "Micronaut", 8080),
        ("ktor", "Ktor", 8080),
        ("javalin", "Javalin", 7070),
    ];
    framework(&known, |package| manifest.contains(package))
}

fn java_sources(folder: &Folder) -> Sources {
    let mut sources =
        folder.sources(&[".java", ".kt", "application.properties", "application.yml"]);
    let settings = sources.texts.iter().find(|(path, _)| path.ends_with("application.properties"));
    let port = settings.and_then(|(path, text)| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix("server.port="))?;
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        Some((path.clone(), digits.parse().ok()?, value.contains("PORT")))
    });
    if let Some((from, port, reads_variable)) = port {
        sources.port = Some(PortGuess { port, from, certainty: Certain, reads_variable });
    }
    sources
}

fn maven(folder: &Folder) -> Option<Detected> {
    let manifest = folder.read("pom.xml")?;
    let mut detected = folder.found(What::Maven, "pom.xml");
    let run = if folder.has("mvnw") { "./mvnw" } else { "mvn" };
    detected.test = folder.say(format!("{run} -B test"), "pom.xml", Likely);
    detected.build = folder.say(format!("{run} -B -DskipTests package"), "pom.xml", Likely);
    if let Some(framework) = java_framework(&manifest) {
        let command = match framework.0 {
            "Quarkus" => "java -jar target/quarkus-app/quarkus-run.jar",
            _ => "exec java -jar target/*.jar",
        };
        detected.start = folder.say(command, "pom.xml", Unsure);
        serve(&mut detected, Some(framework), java_sources(folder));
        if manifest.contains("actuator") && detected.health.is_none() {
            detected.health = folder.say("/actuator/health", "pom.xml", Likely);
        }
    }
    Some(detected)
}

fn gradle(folder: &Folder) -> Option<Detected> {
    let name = folder.first(&["build.gradle.kts", "build.gradle"])?;
    let manifest = folder.read(name)?;
    let mut detected = folder.found(What::Gradle, name);
    let run = if folder.has("gradlew") { "./gradlew" } else { "gradle" };
    detected.test = folder.say(format!("{run} test"), name, Likely);
    detected.build = folder.say(format!("{run} assemble"), name, Likely);
    if let Some(framework) = java_framework(&manifest) {
        let (start, certainty) = match framework.0 {
            "Spring Boot" => ("exec java -jar build/libs/*.jar".to_owned(), Unsure),
            _ => (format!("{run} run"), Unsure),
        };
        detected.start = folder.say(start, name, certainty);
        serve(&mut detected, Some(framework), java_sources(folder));
        if manifest.contains("actuator") && detected.health.is_none() {
            detected.health = folder.say("/actuator/health", name, Likely);
        }
    } else if manifest.contains("application") && manifest.contains("mainClass") {
        detected.start = folder.say(format!("{run} run"), name, Likely);
    }
    Some(detected)
}

fn ruby(folder: &Folder) -> Option<Detected> {
    let manifest = folder.first(&["Gemfile", "config.ru"])?;
    let mut detected = folder.found(What::Ruby, manifest);
    let gems = folder.read("Gemfile").unwrap_or_default();
    let gem =
        |name: &str| gems.contains(&format!("\"{name}\"")) || gems.contains(&format!("'{name}'"));
    let bundle = if folder.has("Gemfile") { "bundle exec " } else { "" };
    if folder.has("Gemfile") {
        detected.build = folder.say("bundle install", "Gemfile", Likely);
    }
    let is_rails = gem("rails") || folder.has("bin/rails");
    detected.test = if is_rails {
        let command = if gem("rspec-rails") { "bundle exec rspec" } else { "bin/rails test" };
        folder.say(command, manifest, Likely)
    } else if gem("rspec") {
        folder.say("bundle exec rspec", "Gemfile", Likely)
    } else if folder.has("Rakefile") {
        folder.say(format!("{bundle}rake test"), "Rakefile", Unsure)
    } else {
        None
    };
    let sources = folder.sources(&[".rb", "config.ru"]);
    if is_rails {
        detected.start = folder.say(
            "bundle exec rails server --binding 127.0.0.1 --port $PORT",
            manifest,
            Likely,
        );
        let rails = Sources { port: None, ..sources };
        serve(&mut detected, Some(("Rails", 3000)), rails);
        if detected.health.is_none() {
            detected.health = folder.say("/up", manifest, Unsure);
        }
        set_reads_port(&mut detected);
    } else if folder.has("config.ru") {
        let command = format!("{bundle}rackup --host 127.0.0.1 --port $PORT");
        detected.start = folder.say(command, "config.ru", Likely);
        let name = if gem("sinatra") { "Sinatra" } else { "Rack" };
        serve(&mut detected, Some((name, 9292)), sources);
        set_reads_port(&mut detected);
    } else if gem("sinatra") {
        let main = folder.first(&["app.rb", "main.rb", "server.rb"]);
        detected.start =
            main.and_then(|main| folder.say(format!("{bundle}ruby {main} -p $PORT"), main, Likely));
        serve(&mut detected, Some(("Sinatra", 4567)), sources);
        set_reads_port(&mut detected);
    } else if let Some(main) = folder.first(&["main.rb", "app.rb", "server.rb"]) {
        detected.start = folder.say(format!("{bundle}ruby {main}"), main, Likely);
        if sources.reads_port {
            serve(&mut detected, None, sources);
        }
    }
    Some(detected)
}

fn php(folder: &Folder) -> Option<Detected> {
    let manifest = folder.first(&["composer.json", "index.php"])?;
    let mut detected = folder.found(What::Php, manifest);
    let packages = folder.read("composer.json").unwrap_or_default();
    if folder.has("composer.json") {
        detected.build = folder.say("composer install --no-interaction", "composer.json", Likely);
    }
    detected.test = if folder.has("artisan") {
        folder.say("php artisan test", "artisan", Likely)
    } else if packages.contains("phpunit") {
        folder.say("vendor/bin/phpunit", "composer.json", Likely)
    } else {
        None
    };
    let known = [
        ("laravel/framework", "Laravel", 8000),
        ("symfony/framework-bundle", "Symfony", 8000),
        ("slim/slim", "Slim", 8080),
    ];
    let framework = framework(&known, |package| packages.contains(package));
    let public = folder.any(|path| path == "public/index.php");
    detected.start = if folder.has("artisan") {
        folder.say("php artisan serve --host 127.0.0.1 --port $PORT", "artisan", Likely)
    } else if public {
        folder.say("php -S 127.0.0.1:$PORT -t public", "public/index.php", Likely)
    } else if folder.has("index.php") {
        folder.say("php -S 127.0.0.1:$PORT", "index.php", Likely)
    } else {
        None
    };
    if detected.start.is_some() {
        let sources = Sources { port: None, ..folder.sources(&[".php"]) };
        serve(&mut detected, Some(framework.unwrap_or(("plain PHP", 8000))), sources);
        set_reads_port(&mut detected);
    }
    Some(detected)
}

fn elixir(folder: &Folder) -> Option<Detected> {
    let manifest = folder.read("mix.exs")?;
    let mut detected = folder.found(What::Elixir, "mix.exs");
    detected.test = folder.say("mix test", "mix.exs", Likely);
    detected.build = folder.say("mix deps.get && mix compile", "mix.exs", Likely);
    if manifest.contains(":phoenix") {
        detected.start = folder.say("mix phx.server", "mix.exs", Likely);
        let sources = folder.sources(&[".ex", ".exs"]);
        serve(&mut detected, Some(("Phoenix", 4000)), sources);
    } else if manifest.contains(":plug_cowboy") || manifest.contains(":bandit") {
        detected.start = folder.say("mix run --no-halt", "mix.exs", Likely);
        serve(&mut detected, Some(("Plug", 4000)), folder.sources(&[".ex", ".exs"]));
    } else if manifest.contains("mod:") {
        detected.start = folder.say("mix run --no-halt", "mix.exs", Unsure);
    }
    Some(detected)
}

fn is_dotnet(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, end)| ["csproj", "fsproj", "vbproj", "sln"].contains(&end))
}

fn dotnet(folder: &Folder) -> Option<Detected> {
    let prefix = folder.path("");
    let in_folder = |path: &&String| {
        path.strip_prefix(&prefix).is_some_and(|name| !name.contains('/') && is_dotnet(name))
    };
    let projects: Vec<&String> = folder.listing.paths().iter().filter(in_folder).collect();
    let path =
        projects.iter().find(|path| path.strip_suffix(".sln").is_none()).or(projects.first())?;
    let name = path.strip_prefix(&prefix)?;
    let mut detected = folder.found(What::Dotnet, name);
    detected.test = folder.say("dotnet test", name, Likely);
    detected.build = folder.say("dotnet build --configuration Release", name, Likely);
    let manifest = folder.listing.read(path).unwrap_or_default();
    if manifest.contains("Microsoft.NET.Sdk.Web") {
        let command =
            "dotnet run --configuration Release --no-launch-profile --urls http://127.0.0.1:$PORT";
        detected.start = folder.say(command, name, Likely);
        let sources = folder.sources(&[".cs", ".fs"]);
        serve(&mut detected, Some(("ASP.NET Core", 8080)), sources);
        set_reads_port(&mut detected);
    } else if manifest.contains("<OutputType>Exe</OutputType>") {
        detected.start = folder.say("dotnet run --configuration Release", name, Likely);
    }
    Some(detected)
}

fn static_site(folder: &Folder) -> Option<Detected> {
    if !folder.has("index.html") {
        return None;
    }
    let mut detected = folder.found(What::StaticSite, "index.html");
    let command = "python3 -m http.server --bind 127.0.0.1 $PORT";
    detected.start = folder.say(command, "index.html", Likely);
    detected.port = Some(PortGuess {
        port: 8080,
        from: folder.path("index.html"),
        certainty: Unsure,
        reads_variable: true,
    });
    detected.health = folder.say("/", "index.html", Certain);
    Some(detected)
}

/// Reads every Dockerfile near the top.
pub(super) fn dockerfiles(listing: &dyn Listing) -> Vec<Dockerfile> {
    let is_dockerfile = |path: &&String| {
        let name = path.rsplit('/').next().unwrap_or(path);
        path.matches('/').count() <= MAX_DEPTH
            && (name == "Dockerfile" || name == "Containerfile" || name.starts_with("Dockerfile."))
    };
    listing
        .paths()
        .iter()
        .filter(is_dockerfile)
        .map(|path| read_dockerfile(path, &listing.read(path).unwrap_or_default()))
        .collect()
}

fn read_dockerfile(path: &str, text: &str) -> Dockerfile {
    let mut file = Dockerfile { path: path.to_owned(), ..Dockerfile::default() };
    let (mut entrypoint, mut command) = (None, None);
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines() {
        let Some((instruction, rest)) = line.trim().split_once(char::is_whitespace) else {
            continue;
        };
        match instruction.to_ascii_uppercase().as_str() {
            "FROM" => (file.port, entrypoint, command) = (None, None, None),
            "EXPOSE" if file.port.is_none() => {
                let tcp = |word: &&str| !word.ends_with("/udp");
                let port = |word: &str| word.split('/').next()?.parse().ok();
                file.port = rest.split_whitespace().filter(tcp).find_map(port);
            }
            "ENTRYPOINT" => (entrypoint, command) = (Some(shell_form(rest)), None),
            "CMD" => command = Some(shell_form(rest)),
            _ => {}
        }
    }
    let parts: Vec<String> = [entrypoint, command].into_iter().flatten().collect();
    file.command = (!parts.is_empty()).then(|| parts.join(" "));
    file
}

/// `["a", "b c"]` as `a 'b c'`.
fn shell_form(text: &str) -> String {
    match serde_json::from_str::<Vec<String>>(text.trim()) {
        Ok(words) => {
            let quoted = words.iter().map(|word| super::suggest::shell_quoted(word));
            quoted.collect::<Vec<_>>().join(" ")
        }
        Err(_) => text.trim().to_owned(),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
