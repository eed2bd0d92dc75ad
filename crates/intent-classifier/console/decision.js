// The picture of a decision: the answer, one lane per model, where the time went, what else it could have been.

import { badge, bar, h, milliseconds, modelName, percent, s, stack, words } from "./dom.js";

/** Draws an answer of `classify`. `about`: what was asked, all models, the intent's description, the latency target. */
export function decision(answer, about) {
  return h("div", { class: "answer" },
    headline(answer, about),
    h("h3", null, "How it was decided"),
    h("ol", { class: "lanes" }, lanes(answer, about)),
    timeline(answer, about),
    h("h3", null, "What it could be"),
    h("div", { class: "alternatives" }, answer.alternatives.map((one) => [
      h("span", null, words(one.intent)),
      bar(one.confidence, { model: answer.model_used, label: `${words(one.intent)}: ${percent(one.confidence, 1)}` }),
      h("span", { class: "number" }, percent(one.confidence, 1))])),
    h("details", null, h("summary", null, "As a program sees it"),
      h("pre", null, curl(about.asked)), h("pre", null, JSON.stringify(answer, null, 2))));
}

function headline(answer, about) {
  const { routing } = answer;
  const inExperiment = routing.experiment_group !== "control";
  return h("div", { class: "headline" },
    dial(answer.confidence, answer.model_used),
    h("div", null,
      h("p", { class: "intent" }, words(answer.intent)),
      h("p", { class: "muted" }, answer.intent === "out_of_scope" ? "No intent of the pack fits this text." : about.description ?? ""),
      h("p", { class: "chips" },
        h("span", { class: "badge" }, modelName(answer.model_used)),
        h("span", { class: "badge" }, milliseconds(answer.processing_time_ms)),
        h("span", { class: "badge" }, `strategy ${words(routing.strategy)}`),
        inExperiment && h("span", { class: "badge info" }, `experiment group ${words(routing.experiment_group)}`),
        answer.cached && h("span", { class: "badge good" }, "from the cache"),
        answer.degraded && badge("degraded"),
        answer.truncated && h("span", { class: "badge warn" }, "end of the text not read"),
        Object.entries(answer.attributes).map(([name, value]) =>
          h("span", { class: "badge quiet" }, `${words(name)}: ${words(JSON.stringify(value).replaceAll('"', ""))}`)))));
}

/** A ring that is as full as the answer is sure. */
function dial(confidence, model) {
  const around = 2 * Math.PI * 42;
  return s("svg", { class: "dial", viewBox: "0 0 100 100", "data-model": model, role: "img", "aria-label": `${percent(confidence, 1)} sure` },
    s("circle", { class: "track", cx: 50, cy: 50, r: 42 }),
    s("circle", { class: "sure", cx: 50, cy: 50, r: 42, "stroke-dasharray": `${around * confidence} ${around}`, transform: "rotate(-90 50 50)" }),
    s("text", { x: 50, y: 49 }, percent(confidence, confidence > 0.995 && confidence < 1 ? 1 : 0)),
    s("text", { x: 50, y: 66, class: "unit" }, "sure"));
}

/** One lane per model in the order in which they were asked; then those that were not. */
function lanes(answer, about) {
  const { steps, general } = story(answer);
  const mark = { taken: "✓", unsure: "·", foreign: "·", failed: "✕", skipped: "→" };
  const asked = [...steps].map(([model, step]) => {
    const needed = step.threshold === undefined ? "" : `, ${percent(step.threshold, 1)} needed`;
    const label = `${words(model)}: ${percent(step.confidence ?? 0, 1)} sure${needed}`;
    return h("li", { class: `lane ${step.state}`, "data-model": model },
      h("span", { class: "dot", "aria-hidden": "true" }, mark[step.state]),
      h("span", { class: "name" }, words(model)),
      bar(step.confidence ?? 0, { mark: step.threshold, model, label }),
      h("span", { class: "number" }, step.ms === undefined ? "" : milliseconds(step.ms)),
      h("span", { class: "note" }, step.notes.join("; ")));
  });
  const others = Object.entries(about.models).filter(([model, { status }]) => !steps.has(model) && status !== "not_configured");
  const idle = others.map(([model]) => h("li", { class: "lane idle", "data-model": model },
    h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "name" }, words(model)),
    h("span", { class: "note" }, "not asked")));
  return [asked, idle, general.map((note) => h("li", { class: "lane" }, h("span", { class: "note" }, note)))];
}

const CONFIDENCE = /^(\w+) confidence ([\d.]+) (>=|<) ([\d.]+)$/;
const TOO_SLOW = /^(\w+) p95 ([\d.]+) ms > ([\d.]+) ms left$/;

/** Reads from an answer what each model did. */
function story(answer) {
  const steps = new Map();
  const general = [];
  const step = (model) => steps.get(model) ?? steps.set(model, { state: "unsure", notes: [] }).get(model);
  for (const reason of answer.routing.reasons) {
    const sure = CONFIDENCE.exec(reason);
    const slow = TOO_SLOW.exec(reason);
    if (sure) {
      const [, model, confidence, sign, threshold] = sure;
      Object.assign(step(model), { confidence: Number(confidence), threshold: Number(threshold) });
      step(model).notes.push(`${percent(confidence)} sure, ${percent(threshold)} needed${sign === "<" ? ": not enough" : ""}`);
    } else if (slow) {
      step(slow[1]).state = "skipped";
      step(slow[1]).notes.push(`left out: may take ${slow[2]} ms, and ${slow[3]} ms were left`);
    } else if (reason === "no rule matches") {
      Object.assign(step("rules"), { state: "foreign" }).notes.push(reason);
    } else if (/^\w+ finds the text out of scope$/.test(reason)) {
      Object.assign(step(reason.split(" ")[0]), { state: "foreign" }).notes.push("finds that no intent fits");
    } else if (/^\w+ (is the most accurate|answered as fallback|was asked for)/.test(reason)) {
      const [model, ...rest] = reason.split(" ");
      step(model).notes.push(rest.join(" "));
    } else if (/^\w+ (not loaded|circuit open|failed|panicked|timed out|overloaded)$/.test(reason)) {
      const [model, ...rest] = reason.split(" ");
      Object.assign(step(model), { state: "failed" }).notes.push(rest.join(" "));
    } else {
      general.push(reason);
    }
  }
  for (const { from, to } of answer.routing.fallbacks) step(from).notes.push(`${words(to)} instead`);
  for (const [model, ms] of Object.entries(answer.routing.latency_ms)) {
    if (model !== "total") step(model).ms = ms;
  }
  // The digits that the reasons leave out.
  const taken = Object.assign(step(answer.model_used), { state: "taken", confidence: answer.confidence });
  if (answer.routing.rule) taken.notes.push(`rule ${answer.routing.rule}`);
  return { steps, general };
}

/** Where the time went. */
function timeline(answer, { targetMs }) {
  const models = Object.entries(answer.routing.latency_ms).filter(([name]) => name !== "total");
  const within = models.map(([model, ms]) => ({ name: `${words(model)} ${milliseconds(ms)}`, value: ms, model }));
  const rest = Math.max(0, answer.processing_time_ms - within.reduce((sum, part) => sum + part.value, 0));
  const parts = [...within, { name: `all else ${milliseconds(rest)}`, value: rest, model: "none" }];
  const total = milliseconds(answer.processing_time_ms);
  return h("div", { class: "timeline" },
    h("h3", null, "Where the time went", h("span", { class: "muted" }, targetMs ? `${total} of ${targetMs} ms` : total)),
    stack(parts, parts.map((part) => part.name).join(", ")),
    h("p", { class: "legend" }, parts.map((part) => h("span", { class: "model", "data-model": part.model }, h("span", { class: "dot" }), part.name))));
}

function curl(asked) {
  const body = JSON.stringify(asked).replaceAll("'", "'\\''");
  return `curl -s ${new URL("api/v1/intents/classify", document.baseURI)} -H 'content-type: application/json' -d '${body}'`;
}
