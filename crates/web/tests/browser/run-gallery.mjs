// Starts the gallery given as the first argument, checks its pages, and stops it.

import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const gallery = spawn(process.argv[2], { stdio: ["pipe", "pipe", "inherit"] });
const said = await new Promise((resolve, reject) => {
  let text = "";
  gallery.stdout.on("data", (data) => {
    text += data;
    if (text.includes("\n")) resolve(text.split("\n")[0]);
  });
  gallery.on("exit", (code) => reject(new Error(`the gallery ended with ${code}`)));
});
const check = path.join(path.dirname(fileURLToPath(import.meta.url)), "check.mjs");
const checking = spawn(process.execPath, [check, said], { stdio: "inherit" });
checking.on("exit", (code) => {
  gallery.removeAllListeners("exit");
  gallery.stdin.end();
  process.exitCode = code ?? 1;
});
