// Somebody has the overview open while a bad release comes: it is seen, and read, without a reload.
//
//   node journey.mjs LOGIN_LINK     prints «watching» once the page is open; 0 when all was seen

import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(path.resolve(process.env.MARLINE_PLAYWRIGHT), "x.js"));
const { chromium } = require("playwright-core");
const link = process.argv[2];
const base = new URL(link).origin;
const wrong = [];

const browser = await chromium.launch({
  executablePath: process.env.MARLINE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()}`);
});
page.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
const see = (what, text, timeout = 60_000) =>
  page.getByText(text).first().waitFor({ timeout }).catch(() => wrong.push(`${what}: “${text}” was not seen on ${page.url()}`));

// The overview is watched while it happens.
await page.goto(link, { waitUntil: "commit" });
await page.waitForSelector("main h1");
console.log("watching");
await see("overview", /rolled back|taken back|went back/i);

// The incident is read, by a developer and by a manager.
await page.goto(`${base}/incidents/1`, { waitUntil: "commit" });
await see("incident", /failed \d+ of \d+ requests/i);

// The log of the run is read.
await page.goto(`${base}/runs/1`, { waitUntil: "commit" });
await see("run", "test");
await page.goto(`${base}/runs/1/test/1`, { waitUntil: "commit" });
await see("log", "line 40");

if (process.env.MARLINE_SCREENSHOTS) {
  for (const [name, where] of [["incident", "/incidents/1"], ["deployment", "/deployments/2"], ["overview", "/"], ["run", "/runs/1"]]) {
    await page.goto(base + where, { waitUntil: "commit" });
    await page.waitForSelector("main h1");
    await page.screenshot({ path: path.join(process.env.MARLINE_SCREENSHOTS, `${name}.png`) });
  }
}
await browser.close();
for (const line of wrong) console.error(`✗ ${line}`);
process.exit(wrong.length ? 1 : 0);
