// Texts a second over the last minutes, and which models answer.

import { get } from "./api.js";
import { badge, count, h, milliseconds, modelName, percent, s, show, showFailure, stack, table, words } from "./dom.js";

/** How many measurements the curve shows. */
const KEPT = 60;
const rates = [];
let before;

export async function refresh() {
  try {
    const stats = await get("api/v1/intents/routing/stats");
    const at = performance.now();
    if (before && stats.total_requests >= before.total) {
      rates.push((stats.total_requests - before.total) / ((at - before.at) / 1000));
      if (rates.length > KEPT) rates.shift();
    }
    before = { total: stats.total_requests, at };
    show("traffic-view", figures(stats), curve(), shares(stats));
  } catch (failure) {
    showFailure("traffic-view", failure);
    return failure;
  }
  return undefined;
}

function figures(stats) {
  const fallbacks = Object.values(stats.models).reduce((sum, model) => sum + model.fallbacks, 0);
  const one = (value, name) => h("li", null, h("b", null, value), h("span", null, name));
  return h("ul", { class: "figures" },
    one((rates.at(-1) ?? 0).toFixed(1), "texts a second"),
    one(count(stats.total_requests), "since the start"),
    one(`${count(stats.in_flight)} of ${count(stats.capacity)}`, "in flight"),
    one(count(stats.waiting), "waiting"),
    one(count(fallbacks), "fallbacks"));
}

function curve() {
  const most = Math.max(1, ...rates);
  const x = (index) => 600 - (600 * (rates.length - 1 - index)) / (KEPT - 1);
  const y = (rate) => 78 - (72 * rate) / most;
  const points = rates.map((rate, index) => `${x(index).toFixed(1)},${y(rate).toFixed(1)}`).join(" ");
  return h("figure", { class: "curve" },
    s("svg", { viewBox: "0 0 600 80", preserveAspectRatio: "none", role: "img",
      "aria-label": `texts a second: now ${(rates.at(-1) ?? 0).toFixed(1)}, at most ${Math.max(0, ...rates).toFixed(1)}` },
    s("line", { x1: 0, x2: 600, y1: 78, y2: 78 }),
    s("line", { x1: 0, x2: 600, y1: 6, y2: 6 }),
    rates.length > 1 && s("polygon", { points: `${x(0).toFixed(1)},80 ${points} 600,80` }),
    rates.length > 1 && s("polyline", { points })),
    h("figcaption", null, h("span", null, `${KEPT * 3 / 60} minutes ago`), h("span", null, `at most ${most.toFixed(1)} a second`), h("span", null, "now")));
}

function shares(stats) {
  const models = Object.entries(stats.models).filter(([, model]) => model.circuit_state !== null || model.count > 0);
  const columns = [{ title: "Who answers" }, ...["Share", "Texts", "p50", "p95", "Confidence"].map((title) => ({ title, number: true }))];
  return [
    stack(models.map(([model, { share }]) => ({ name: `${words(model)} ${percent(share, 1)}`, value: share, model })),
      models.map(([model, { share }]) => `${words(model)} answers ${percent(share, 1)}`).join(", ")),
    table(columns, models.map(([name, model]) => [
      h("span", null, modelName(name), model.circuit_state !== "closed" && model.circuit_state && badge(model.circuit_state, `circuit ${words(model.circuit_state)}`)),
      percent(model.share, 1), count(model.count), milliseconds(model.p50_ms), milliseconds(model.p95_ms),
      model.mean_confidence === null ? "–" : percent(model.mean_confidence)]))];
}
