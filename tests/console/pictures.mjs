// Takes the pictures of the documents, of a server that has seen some traffic.
//
// usage: node pictures.mjs FOLDER PACK

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { awaitDatabase, call, launch, serve } from "./browser.mjs";

const [folder, pack] = process.argv.slice(2);
const TEXTS = 3000;
const AT_ONCE = 4;

const rows = readFileSync(join(pack, "test.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
const foreign = readFileSync(join(pack, "out_of_scope_test.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));

/** Numbers between 0 and 1 that are the same in every run (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Users ask and say whether the answers are right, until all texts are sent. */
async function traffic(origin, texts, pauseMs = 0) {
  const next = random(texts);
  const choose = (list) => list[Math.floor(next() * list.length)];
  const user = async () => {
    while (texts-- > 0) {
      const { text, intent } = next() < 0.02 ? choose(foreign) : choose(rows);
      const user_id = `user-${Math.floor(next() * 3000)}`;
      const answer = await call(origin, "POST", "/api/v1/intents/classify", { text, user_id });
      if (intent && next() < 0.4) {
        await call(origin, "POST", "/api/v1/intents/feedback", {
          request_id: answer.request_id, text, user_id, original_intent: answer.intent, correct_intent: intent,
          original_confidence: answer.confidence, feedback_type: answer.intent === intent ? "confirmation" : "correction",
        });
      }
      if (pauseMs) await new Promise((resolve) => { setTimeout(resolve, 2 * pauseMs * next()); });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, user));
}

/** Finds a user who is in the control group, and takes part in no flag that is rolled out. */
async function inControl(origin) {
  for (let number = 0; ; number++) {
    const user_id = `ada-${number}`;
    const { routing } = await call(origin, "POST", "/api/v1/intents/classify", { text: "hello", user_id });
    if (routing.experiment_group === "control" && routing.strategy === "control") return user_id;
  }
}

const browser = await launch();
const server = await serve({ MODEL_DIR: process.env.MODEL_DIR, ENCODER_DIR: process.env.ENCODER_DIR, PREWARM_MODELS: "true", AB_TEST_PERCENTAGE: "0.5" });
try {
  const { origin } = server;
  await awaitDatabase(origin);
  const flag = (name, change) => call(origin, "PUT", `/api/v1/feature-flags/${name}`, change);
  await flag("enhanced_logging", { enabled: true, rollout_percentage: 25 });
  await flag("performance_mode", { enabled: true, rollout_percentage: 1 });
  await flag("performance_mode", { rollout_percentage: 12.5 });
  await traffic(origin, TEXTS);
  let isDone = false;
  const live = (async () => { while (!isDone) await traffic(origin, 200, 60); })();

  const shoot = async (name, { width, height, colorScheme = "light", text, user = "", prepare, section }) => {
    const context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: 1.5, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    await page.goto(`${origin}/console`);
    if (text) {
      await page.getByLabel("Text", { exact: true }).fill(text);
      await page.getByLabel("As user").fill(user);
      await page.getByRole("button", { name: "Classify" }).click();
      await page.locator("#decision .answer").waitFor();
    }
    await prepare?.(page);
    await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
    const clip = section ? await page.locator(section).boundingBox() : { x: 0, y: 0, width, height };
    const session = await context.newCDPSession(page);
    const { data } = await session.send("Page.captureScreenshot", {
      format: "webp", quality: 80, captureBeyondViewport: true, clip: { ...clip, scale: 1 },
    });
    writeFileSync(join(folder, `${name}.webp`), Buffer.from(data, "base64"));
    if (process.env.ALSO_PNG) await page.screenshot({ path: join(process.env.ALSO_PNG, `${name}.png`), clip, fullPage: true });
    await context.close();
  };
  // The curve needs some measurements, one in three seconds.
  const curve = (page) => page.waitForFunction(() => (document.querySelector("#traffic polyline")?.points.length ?? 0) > 14, undefined, { timeout: 90_000 });

  // All models that `control` plans are asked: neither rules nor n-grams are sure.
  await shoot("console", { width: 1280, height: 1230, text: "something about bananas and trains maybe", user: await inControl(origin), prepare: curve });
  await shoot("console-dark", { width: 1280, height: 860, colorScheme: "dark", text: "asdf qwer zxcv" });
  await shoot("console-narrow", { width: 360, height: 1180, text: "How do you say good morning in Japanese?" });
  await shoot("console-flags", { width: 1280, height: 4200, section: "#flags", prepare: async (page) => {
    await page.locator('[data-flag="performance_mode"]').getByRole("button", { name: "History" }).click();
    await page.locator(".history li").first().waitFor();
  } });
  await shoot("console-experiments", { width: 1280, height: 4200, section: "#experiments", prepare: (page) => page.locator("#experiments table").waitFor() });
  await shoot("console-unsure", { width: 1280, height: 4200, section: "#low-confidence", prepare: (page) => page.locator(".doubts li").first().waitFor() });
  isDone = true;
  await live;
} finally {
  server.stop();
  await browser.close();
}
