// The console as a person meets it, in real Chromium against a real server: `make test-console`.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { awaitDatabase, call, launch, serve as start } from "./browser.mjs";

const SECRET = "bX9/7Zq0w1kP3vT5uR8yN2mC4dF6gH1jL0sA";
const CODE = "Write a Python function to reverse a string";
const FOREIGN = "asdf qwer zxcv";
/** What the rules of a small pack are not sure of. */
const UNSURE = "hi there";
const SMALL_PACK = { INTENT_PACK: resolve("crates/intent-classifier/tests/it/packs/desk.toml") };
const FLAG = "/api/v1/feature-flags/quality_mode";

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/** Starts a server that the test stops at its end. */
async function serve(t, settings = {}) {
  const server = await start(settings);
  t.after(server.stop);
  if (!settings.AUTH_ENABLED) await awaitDatabase(server.origin);
  return server;
}

/** Opens the console and notes what it asks for and complains about. */
async function open(t, { origin }, options = {}) {
  // So high that all sections are in sight, and refreshed.
  const context = await browser.newContext({ viewport: { width: 1280, height: 4000 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  const seen = { foreign: [], errors: [], dialogs: [] };
  page.on("request", (request) => request.url().startsWith(`${origin}/`) || seen.foreign.push(request.url()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  await page.goto(`${origin}/`);
  await page.locator("#status .badge").waitFor();
  return { page, seen };
}

async function classify(page, text) {
  await page.getByLabel("Text", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Classify" }).click();
  await page.locator("#decision .answer").waitFor();
}

const rowOf = (page, flag) => page.locator(`[data-flag="${flag}"]`);

test("a text is classified and its decision drawn, by the page's own files alone", async (t) => {
  const { page, seen } = await open(t, await serve(t));
  await classify(page, CODE);
  assert.equal(await page.locator("#decision .intent").innerText(), "Code generation");
  const taken = page.locator(".lane.taken");
  assert.equal(await taken.locator(".name").innerText(), "rules");
  assert.match(await taken.locator(".bar").getAttribute("aria-label"), /^rules: 99\.5 % sure, 85\.0 % needed$/);
  assert.match(await taken.locator(".note").innerText(), /100 % sure, 85 % needed; rule code_generation\//);
  // Every lane has its bar right of its name, whatever became of it.
  const lanes = await page.locator(".lane:has(.bar)").evaluateAll((all) => all.map((lane) => {
    const [name, bar] = [".name", ".bar"].map((part) => lane.querySelector(part).getBoundingClientRect());
    return bar.left >= name.right - 1;
  }));
  assert.deepEqual(lanes, lanes.map(() => true));
  assert.match(await page.locator(".timeline .muted").innerText(), /ms of 200 ms/);
  assert.match(await page.locator(".timeline .stack").getAttribute("aria-label"), /^rules [\d.]+ ms, all else [\d.]+ ms$/);

  await classify(page, FOREIGN);
  await page.getByText("No intent of the pack fits this text.").waitFor();
  await page.locator(".lane .note", { hasText: "no rule matches" }).waitFor();

  await page.locator("#health-models").getByText("healthy").first().waitFor();
  assert.match(await page.locator("#health-models").innerText(), /distilbert\s+not configured/);
  await page.locator("#health-dependencies").getByText("torchserve").waitFor();
  await page.locator("#routing-view").getByText("85.0 %").waitFor();
  await page.locator("#traffic-view").getByText("100.0 %").waitFor();
  assert.deepEqual(seen, { foreign: [], errors: [], dialogs: [] });
});

test("everything can be done by keyboard", async (t) => {
  const server = await serve(t);
  const { page } = await open(t, server);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "text");
  await page.keyboard.type("Translate this sentence into French: where is the station?");
  await page.keyboard.press("Control+Enter");
  await page.locator("#decision .answer").waitFor();
  assert.equal(await page.locator("#decision .intent").innerText(), "Translation");

  await rowOf(page, "quality_mode").getByRole("switch").focus();
  await page.keyboard.press("Space");
  await page.getByText("quality mode is on for 100 %.").waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowLeft");
  await page.getByText("quality mode is on for 99 %.").waitFor();
  assert.equal((await call(server.origin, "GET", FLAG)).rollout_percentage, 99);
});

for (const width of [360, 700, 1100]) {
  test(`a window of ${width} pixels shows everything without scrolling sideways`, async (t) => {
    const server = await serve(t, { AB_TEST_PERCENTAGE: "0.5" });
    await call(server.origin, "PUT", FLAG, { enabled: true });
    const { page } = await open(t, server, { viewport: { width, height: 4000 } });
    await classify(page, `${CODE} ${"x".repeat(300)}`);
    await page.getByText("As a program sees it").click();
    await rowOf(page, "quality_mode").getByRole("button", { name: "History" }).click();
    await page.locator(".history li").first().waitFor();
    await page.locator("#experiments-view table").waitFor();
    const wide = await page.evaluate(() => {
      const all = [document.documentElement, ...document.querySelectorAll("section")];
      return all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.id || one.tagName);
    });
    assert.deepEqual(wide, []);
  });
}

for (const colorScheme of ["light", "dark"]) {
  test(`text can be read on ${colorScheme} ground`, async (t) => {
    const { page } = await open(t, await serve(t), { colorScheme });
    await classify(page, CODE);
    await page.locator("#health-models .badge").first().waitFor();
    const faint = await page.evaluate(() => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const rgb = (colour, ground) => {
        canvas.fillStyle = ground;
        canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      };
      const luminance = (of) => of.map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
      const groundOf = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const { backgroundColor } = getComputedStyle(at);
          if (!/, 0\)$|transparent/.test(backgroundColor)) return backgroundColor;
        }
        return "white";
      };
      const texts = [...document.querySelectorAll("h1, h2, h3, p, th, td, label, button, .badge, .muted, .name, .note, .number")];
      return texts.filter((element) => element.innerText?.trim() && !element.closest(".off, header, .idle")).flatMap((element) => {
        const ground = groundOf(element);
        const [a, b] = [luminance(rgb(getComputedStyle(element).color, ground)), luminance(rgb(ground, "white"))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return contrast < 4.5 ? [`${element.innerText.slice(0, 40)}: ${contrast.toFixed(2)}`] : [];
      });
    });
    assert.deepEqual(faint, [], "WCAG 2.2 AA asks for a contrast of 4.5");
  });
}

test("markup in a text is shown, not run", async (t) => {
  const server = await serve(t, { ...SMALL_PACK, FEATURE_FLAG_ENHANCED_LOGGING_ENABLED: "true" });
  const { page, seen } = await open(t, server);
  await classify(page, `hi <img src=x onerror="alert(1)"><script>alert(2)</script>`);
  await page.locator(".doubts .text").waitFor();
  assert.equal(await page.locator("main :is(img, script)").count(), 0);
  assert.deepEqual([seen.dialogs, seen.errors], [[], []]);
});

test("a flag is switched and rolled out, and the history says so", async (t) => {
  const { origin } = await serve(t);
  const { page } = await open(t, { origin });
  const row = rowOf(page, "quality_mode");
  await row.getByRole("switch").check();
  await page.getByText("quality mode is on for 100 %.").waitFor();
  await row.getByRole("spinbutton").fill("12.5");
  await row.getByRole("spinbutton").press("Enter");
  await page.getByText("quality mode is on for 12.5 %.").waitFor();
  await row.getByText("by api").waitFor();
  await row.getByRole("button", { name: "History" }).click();
  await row.getByText("on, 12.5 %").waitFor();
  const flag = await call(origin, "GET", FLAG);
  assert.deepEqual([flag.enabled, flag.rollout_percentage], [true, 12.5]);
  await row.getByRole("button", { name: "Go back to the configuration" }).click();
  await page.getByText("quality mode is off.").waitFor();
  assert.equal((await call(origin, "GET", FLAG)).source, "default");
});

test("a change of a flag that somebody else has changed meanwhile is not made unseen", async (t) => {
  const { origin } = await serve(t);
  const { page } = await open(t, { origin });
  const row = rowOf(page, "quality_mode");
  await row.getByRole("spinbutton").focus();
  await call(origin, "PUT", FLAG, { enabled: true, rollout_percentage: 5 });
  await row.getByRole("spinbutton").fill("50");
  await row.getByRole("spinbutton").press("Enter");
  await row.getByText("Not changed: somebody else has changed quality mode since you saw it. It is on for 5 % now.").waitFor();
  assert.equal((await call(origin, "GET", FLAG)).rollout_percentage, 5);
  await row.getByRole("button", { name: "Make it on for 50 %" }).click();
  await page.getByText("quality mode is on for 50 %.").waitFor();
  assert.equal((await call(origin, "GET", FLAG)).rollout_percentage, 50);
  assert.equal(await row.locator(".conflict p").count(), 0);
});

test("feedback is stored and counted", async (t) => {
  const { origin } = await serve(t);
  const { page } = await open(t, { origin });
  await classify(page, CODE);
  await page.getByLabel("No, it should be").selectOption("explanation");
  await page.getByRole("button", { name: "Correct it" }).click();
  await page.getByText("Corrected to explanation and stored. Thank you.").waitFor();
  await page.locator("#feedback-view").getByText("Most frequent corrections").waitFor();
  await page.getByRole("button", { name: "Yes" }).click();
  await page.getByText("Confirmed and stored. Thank you.").waitFor();
  const stats = await call(origin, "GET", "/api/v1/intents/feedback/stats");
  assert.deepEqual(stats.by_type, { correction: 1, confirmation: 1 });
});

test("texts without a sure answer are shown where logging allows, and can be taught", async (t) => {
  const { origin } = await serve(t, SMALL_PACK);
  const { page } = await open(t, { origin });
  await page.getByText("Texts are not kept").waitFor();
  await classify(page, UNSURE);
  await page.getByText("a text of 8 characters").waitFor();
  assert.ok(!(await page.locator("#low-confidence").innerText()).includes(UNSURE));

  await rowOf(page, "enhanced_logging").getByRole("switch").check();
  await page.getByText("enhanced logging is on for 100 %.").waitFor();
  await page.getByRole("button", { name: "Classify" }).click();
  const item = page.locator(".doubts li").filter({ hasText: UNSURE });
  await item.getByText("2 times").waitFor();
  await item.getByRole("combobox").selectOption("delivery");
  await item.getByRole("button", { name: "That is it" }).click();
  await item.getByText("Corrected to delivery and stored. Thank you.").waitFor();
  await item.getByRole("button", { name: "Try it" }).click();
  assert.equal(await page.getByLabel("Text", { exact: true }).inputValue(), UNSURE);
});

test("experiments show intervals against control", async (t) => {
  const { origin } = await serve(t, { AB_TEST_PERCENTAGE: "0.75" });
  for (let user = 0; user < 600; user++) {
    await call(origin, "POST", "/api/v1/intents/classify", { text: CODE, user_id: `user-${user}` });
  }
  const { page } = await open(t, { origin });
  await page.getByText("keep collecting").first().waitFor();
  const interval = page.locator("#experiments .interval").first();
  await interval.waitFor();
  assert.match(await interval.getAttribute("aria-label"), /^Latency: [+−][\d.]+ ms, between [+−][\d.]+ ms and [+−][\d.]+ ms, (not )?certain/);
});

test("what is lost shows", async (t) => {
  // Port 9, discard: nobody listens.
  const server = await serve(t, { REDIS_URL: "redis://127.0.0.1:9" });
  const { page } = await open(t, server);
  await page.locator("#health-dependencies tr").filter({ hasText: "redis" }).getByText("unhealthy").waitFor();
  await page.locator("#status").getByText("degraded without cache").waitFor();
  server.stop();
  await page.locator("#status").getByText("no answer").waitFor();
  await page.getByText("The server does not answer. Is it running?").first().waitFor();
});

test("a server that asks for a token gets it from the dialog, and only this tab knows it", async (t) => {
  const { page } = await open(t, await serve(t, { AUTH_ENABLED: "true", JWT_SECRET: SECRET }));
  const use = async (value) => {
    await page.getByLabel("Bearer token or API key").fill(value);
    await page.getByLabel("Bearer token or API key").press("Enter");
  };
  await page.getByRole("dialog").waitFor();
  assert.match(await page.locator("#flags-view").innerText(), /give a token/);
  await use("a.wrong.token");
  await page.getByRole("dialog").getByText("token is not valid").waitFor();
  await use(token("classify feedback flags:read"));
  await rowOf(page, "quality_mode").waitFor();
  await classify(page, CODE);
  await page.locator("#low-confidence").getByText("admin").waitFor();
  await rowOf(page, "quality_mode").getByRole("switch").click();
  await page.locator("#flags-message").getByText("quality mode was not changed.").waitFor();
  assert.equal(await rowOf(page, "quality_mode").getByRole("switch").isChecked(), false);
  const kept = await page.evaluate(() => [localStorage.length, document.cookie, sessionStorage.length]);
  assert.deepEqual(kept, [0, "", 1]);
  await page.getByRole("button", { name: "Token set" }).click();
  await page.getByRole("button", { name: "Forget it" }).click();
  await page.waitForFunction(() => sessionStorage.length === 0);
});

function token(scope) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "ada", scope, exp: Math.floor(Date.now() / 1000) + 300 })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}
