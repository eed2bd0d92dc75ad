// A real server and a real browser, for tests and pictures.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const { BINARY, CHROMIUM = "/usr/bin/chromium" } = process.env;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: FLAGS });

/** Starts a server on a free port, with nothing in its folder unless `settings` say otherwise. */
export async function serve(settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), "console-"));
  const env = { PATH: process.env.PATH, PORT: "0", DATA_DIR: folder, MODEL_DIR: join(folder, "models"), ...settings };
  const server = spawn(BINARY, ["serve"], { cwd: folder, env, stdio: ["ignore", "ignore", "pipe"] });
  const stop = () => {
    server.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  const lines = [];
  let address;
  for await (const line of createInterface({ input: server.stderr })) {
    lines.push(line);
    let entry = {};
    try { entry = JSON.parse(line); } catch { /* not a log line */ }
    if (entry.message === "listening") address = entry.address;
    if (entry.message === "ready") {
      server.stderr.resume();
      return { origin: `http://${address}`, stop };
    }
  }
  stop();
  throw new Error(`the server did not start:\n${lines.join("\n")}`);
}

/** Calls the API as a program would. */
export async function call(origin, method, path, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(origin + path, { method, headers, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Waits until changes can be kept: a server answers before it has reached its database. */
export async function awaitDatabase(origin) {
  const deadline = Date.now() + 30_000;
  while (!(await fetch(`${origin}/api/v1/feature-flags/caching/history`)).ok) {
    if (Date.now() > deadline) throw new Error("the database stays away");
  }
}
