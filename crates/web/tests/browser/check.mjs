// Looks at every page in a real browser: light and dark, three widths, with and without JavaScript.
// Any accessibility violation, console error, CSP violation, foreign request or sideways scroll fails.
//
//   node check.mjs '{"base": "http://…", "links": ["http://…/login?t=…", …], "pages": {"name": "/path"}}'
//
// MARLINE_PLAYWRIGHT names a node_modules directory with playwright-core and axe-core.
// MARLINE_SCREENSHOTS, if set, names a directory that gets one picture per page, theme and width.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";

const modules = process.env.MARLINE_PLAYWRIGHT;
if (!modules) {
  console.error("MARLINE_PLAYWRIGHT names no node_modules directory");
  process.exit(2);
}
const require = createRequire(path.join(path.resolve(modules), "x.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { base, links, pages } = JSON.parse(process.argv[2] ?? readFileSync(0, "utf8"));
const pictures = process.env.MARLINE_SCREENSHOTS;
if (pictures) mkdirSync(pictures, { recursive: true });

const wrong = [];
const fail = (where, what) => {
  wrong.push(`${where}: ${what}`);
  console.error(`✗ ${where}: ${what}`);
};

const browser = await chromium.launch({
  executablePath: process.env.MARLINE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
});

const widths = (process.env.MARLINE_WIDTHS ?? "360,768,1440").split(",").map(Number);
const themes = (process.env.MARLINE_THEMES ?? "light,dark").split(",");

async function signedIn(options) {
  const context = await browser.newContext(options);
  const link = links.shift();
  if (!link) throw new Error("no login link is left");
  const page = await context.newPage();
  await page.goto(link, { waitUntil: "commit" });
  if (new URL(page.url()).pathname !== "/") fail("login", `the link led to ${page.url()}`);
  return { context, page };
}

function watch(page, where) {
  page.on("console", (message) => {
    const isNoise = message.type() === "error" && /status of 404/.test(message.text()) && where().startsWith("missing");
    if (["error", "warning"].includes(message.type()) && !isNoise) fail(where(), `console: ${message.text()}`);
  });
  page.on("pageerror", (error) => fail(where(), `script: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(base) && !request.url().startsWith("data:")) fail(where(), `asks elsewhere: ${request.url()}`);
  });
}

for (const theme of themes) {
  for (const width of widths) {
    const { context, page } = await signedIn({ viewport: { width, height: 900 }, colorScheme: theme });
    let where = "login";
    watch(page, () => where);
    for (const [name, address] of Object.entries(pages)) {
      where = `${name} ${theme} ${width}`;
      await page.goto(base + address, { waitUntil: "commit" });
      // A running log keeps its page open: wait for the end of the frame, not of the page.
      await page.waitForSelector("main h1", { timeout: 15_000 });
      await page.waitForTimeout(250);
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (sideways > 0) fail(where, `scrolls sideways by ${sideways} px`);
      if (pictures) await page.screenshot({ path: path.join(pictures, `${name}-${theme}-${width}.png`), fullPage: true });
      // CDP evaluates this outside of the page's policy.
      await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      for (const violation of found.violations) {
        fail(where, `axe ${violation.id}: ${violation.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} ${node.failureSummary.split("\n").at(-1).trim()}`).join(" | ")}`);
      }
    }
    await context.close();
  }
}

// What needs no script must work without one: pages, a form, the theme, a fold.
{
  const { context, page } = await signedIn({ javaScriptEnabled: false, viewport: { width: 1024, height: 800 } });
  for (const [name, address] of Object.entries(pages)) {
    await page.goto(base + address, { waitUntil: "commit" });
    await page.waitForSelector("main h1", { timeout: 15_000 });
    if (!(await page.locator("main h1").first().innerText()).trim()) fail(`${name} without JavaScript`, "no heading");
  }
  await page.goto(`${base}/`, { waitUntil: "commit" });
  await page.waitForSelector("form.theme");
  await Promise.all([page.waitForURL(`${base}/`), page.click("button[name=theme][value=dark]")]);
  if ((await page.getAttribute("html", "data-theme")) !== "dark") fail("theme without JavaScript", "it did not become dark");
  if (pages["deployment-moving"]) {
    await page.goto(base + pages["deployment-moving"], { waitUntil: "commit" });
    await page.waitForSelector("main h1");
    await page.click("form[action='/do/promote'] button");
    await page.waitForSelector("text=Moving on");
  }
  await context.close();
}

// What happens shows by itself, and a refused form says why.
if (pages.service) {
  const { context, page } = await signedIn({ viewport: { width: 1200, height: 900 } });
  watch(page, () => "live");
  const other = await context.newPage();
  await page.goto(`${base}/timeline?show=all`, { waitUntil: "commit" });
  await page.waitForSelector(".timeline li");
  const before = await page.locator(".timeline li").first().getAttribute("id");
  await other.goto(base + pages.service, { waitUntil: "commit" });
  await other.waitForSelector("form[action='/do/restart'] button");
  await other.click("form[action='/do/restart'] button");
  await page.waitForFunction((id) => document.querySelector(".timeline li")?.id !== id, before, { timeout: 10_000 })
    .catch(() => fail("live", "a new event did not show by itself"));
  if (pages["run-live"]) {
    await page.goto(base + pages["run-live"], { waitUntil: "commit" });
    await page.waitForSelector(".log .ln");
    const lines = await page.locator(".log .ln").count();
    await page.waitForFunction((count) => document.querySelectorAll(".log .ln").length > count + 1, lines, { timeout: 10_000 })
      .catch(() => fail("live", "a running log did not grow by itself"));
  }
  const answer = await context.request.post(`${base}/do/restart`, { form: { service: "web", _token: "forged" }, headers: { "sec-fetch-site": "same-origin" } });
  if (answer.status() !== 403) fail("forged form", `was answered with ${answer.status()}`);
  const elsewhere = await context.request.post(`${base}/do/restart`, { form: { service: "web" }, headers: { "sec-fetch-site": "cross-site" } });
  if (elsewhere.status() !== 403) fail("form of another site", `was answered with ${elsewhere.status()}`);
  await context.close();
}

await browser.close();
if (wrong.length) {
  console.error(`${wrong.length} problems`);
  process.exit(1);
}
console.log(`${Object.keys(pages).length} pages are well in ${themes.length} themes and ${widths.length} widths`);
