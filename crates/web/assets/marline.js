// Enhances pages that work without it: swaps what changed, follows logs, shows times where you are.

const body = document.body ?? document.documentElement;
const notice = () => document.getElementById("notice");

// ── swapping what changed ───────────────────────────────────────────────────────────────────

// Makes `old` like `fresh` while keeping the nodes: focus, open folds and transitions survive.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // What a log shows comes in its own stream; what somebody types or opens is theirs.
  if (old.matches(".log")) return;
  const mine = old.nodeName === "DETAILS" ? ["open"] : old.nodeName === "INPUT" ? ["value"] : [];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !mine.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (!mine.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const olds = [...old.childNodes];
  const news = [...fresh.childNodes];
  const known = new Map(olds.filter((node) => node.id).map((node) => [node.id, node]));
  let index = 0;
  for (const node of news) {
    // A node with an id is found wherever it stands, so that a new line on top moves the others.
    const match = node.id && known.get(node.id);
    let here = old.childNodes[index];
    if (match && match !== here) {
      old.insertBefore(match, here ?? null);
      here = match;
    } else if (here && !match && here.id && news.some((other) => other.id === here.id)) {
      old.insertBefore(node, here);
      index += 1;
      continue;
    }
    if (here) morph(here, node);
    else old.append(node);
    index += 1;
  }
  while (old.childNodes.length > news.length) old.lastChild.remove();
}

let asking = null;
let again = 0;

// Asks for this page once more and swaps its regions. Never twice at once.
async function refresh(after) {
  if (asking) {
    again = after;
    return;
  }
  asking = new AbortController();
  try {
    const answer = await fetch(location.href, {
      headers: { "marline-part": "1", "marline-after": String(after) },
      signal: asking.signal,
    });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["side", "main"]) {
      const old = document.getElementById(id);
      const next = fresh.getElementById(id);
      if (old && next) morph(old, next);
    }
    document.title = fresh.title;
    localTimes();
  } catch {
    // The stream says when the connection is lost.
  } finally {
    asking = null;
    if (again) {
      const next = again;
      again = 0;
      schedule(next);
    }
  }
}

let timer = 0;
function schedule(after) {
  if (timer) {
    newest = Math.max(newest, after);
    return;
  }
  newest = after;
  timer = setTimeout(() => {
    timer = 0;
    refresh(newest);
  }, 200);
}

// ── what happens, as it happens ─────────────────────────────────────────────────────────────

let newest = Number(body.dataset.live ?? 0);
let source = null;
let lost = 0;

function listen() {
  if (source || document.hidden || !("live" in document.body.dataset)) return;
  source = new EventSource(`/events?after=${newest}`);
  source.addEventListener("change", (event) => schedule(Number(event.lastEventId)));
  source.addEventListener("open", () => {
    if (lost) {
      say("");
      schedule(newest);
    }
    lost = 0;
  });
  source.addEventListener("error", () => {
    lost ||= Date.now();
    if (Date.now() - lost > 2500) say(`Connection lost. What you see is from ${new Date(lost).toLocaleTimeString()}.`);
  });
}

function say(text) {
  const place = notice();
  if (place && place.textContent !== text) place.textContent = text;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    source = null;
  } else {
    listen();
    schedule(newest);
  }
});
addEventListener("pagehide", () => source?.close());

// ── logs ────────────────────────────────────────────────────────────────────────────────────

// Keeps the end of a running log in sight as long as its reader stays at the end.
function follow(log) {
  let atEnd = !location.hash.startsWith("#L");
  log.addEventListener("scroll", () => {
    atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  }, { passive: true });
  new MutationObserver(() => {
    if (atEnd) log.scrollTop = log.scrollHeight;
  }).observe(log, { childList: true, subtree: true });
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function startLogs() {
  for (const log of document.querySelectorAll(".log[data-follow]:not([data-on])")) {
    log.dataset.on = "";
    follow(log);
  }
}

// ── small things ────────────────────────────────────────────────────────────────────────────

// Says exact moments in the zone of whoever looks.
function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  }
}

// Relative times grow old on a quiet page.
function keepTimes() {
  const units = [[86400, "days"], [3600, "h"], [60, "min"], [3, "s"]];
  for (const time of document.querySelectorAll("time[datetime]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    if (!(seconds >= 0 && seconds < 86400)) continue;
    const unit = units.find(([size]) => seconds >= size);
    const text = unit ? `${Math.floor(seconds / (unit[0] === 3 ? 1 : unit[0]))} ${unit[1]} ago` : "just now";
    if (time.textContent !== text) time.textContent = text;
  }
}

// Commands are there to be copied.
document.addEventListener("click", async (event) => {
  const command = event.target.closest?.("code.command");
  if (!command || getSelection().toString()) return;
  try {
    await navigator.clipboard.writeText(command.textContent);
    say("Copied.");
    setTimeout(() => say(""), 1500);
  } catch {
    getSelection().selectAllChildren(command);
  }
});

// `g r` goes to the runs, `/` to the search of a log.
let chord = 0;
const places = { o: "/", r: "/runs", d: "/deployments", i: "/incidents", t: "/timeline" };
document.addEventListener("keydown", (event) => {
  if (event.target.closest?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (event.key === "g") {
    chord = Date.now();
  } else if (Date.now() - chord < 800 && places[event.key]) {
    location.href = places[event.key];
  }
});

function start() {
  listen();
  startLogs();
  localTimes();
}

// A page with a running log is not complete for long: start at once, and once more at its end.
start();
document.addEventListener("DOMContentLoaded", start);
setInterval(keepTimes, 5000);
