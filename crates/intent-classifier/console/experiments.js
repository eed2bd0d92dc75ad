// Each experiment's groups beside control, with what is certain about the differences.

import { get } from "./api.js";
import { badge, count, h, milliseconds, percent, show, showFailure, table, words } from "./dom.js";

export async function refresh() {
  try {
    const { experiments } = await get("api/v1/experiments");
    const results = await Promise.all(experiments.map(({ name }) => get(`api/v1/experiments/${encodeURIComponent(name)}/results`)));
    show("experiments-view", results.map(experiment));
  } catch (failure) {
    showFailure("experiments-view", failure);
    return failure;
  }
  return undefined;
}

/** What is compared, by which sign it is better, and how it is written. */
const MEASURES = [
  { title: "Accuracy", of: (group) => group.difference_to_control.accuracy, better: 1, write: points },
  { title: "Latency", of: (group) => group.difference_to_control.latency_ms, better: -1, write: (value) => `${signed(value, 1)} ms` },
  { title: "Confidence", of: (group) => group.difference_to_control.confidence, better: 1, write: points },
];

function experiment(results) {
  if (results.status === "stopped") {
    return [
      h("p", null, badge(results.status), " ", h("strong", null, words(results.name))),
      h("p", { class: "muted" }, "Nobody tries another strategy. Give the experiment a share of the users: AB_TEST_PERCENTAGE at the start, or PUT /api/v1/intents/routing/config with {\"experiment\": {\"share\": 0.3}} while the service runs."),
    ];
  }
  const columns = [{ title: "Group" }, { title: "Users", number: true }, { title: "Texts", number: true }, { title: "Right", number: true },
    { title: "p95", number: true }, ...MEASURES.map(({ title }) => ({ title: `${title} against control` }))];
  const widest = MEASURES.map(({ of }) => Math.max(1e-9, ...results.groups.map(of).filter(Boolean).flatMap(({ low, high }) => [Math.abs(low), Math.abs(high)])));
  return [
    h("p", { class: "verdict-line" }, badge(results.conclusion), h("strong", null, words(results.name)),
      h("span", null, sentence(results.recommendation.replaceAll("`", "")))),
    table(columns, results.groups.map((group) => [
      words(group.group), count(group.subjects), count(group.count), right(group), milliseconds(group.latency_ms.p95),
      ...MEASURES.map((measure, index) => group.group === "control" ? h("span", { class: "muted" }, "–") : interval(measure.of(group), widest[index], measure))])),
    h("p", { class: "muted" }, `Intervals hold with ${percent(results.confidence_level)} all together, however often one looks. `,
      results.sample_ratio.passed ? `The groups have the sizes they should (p = ${results.sample_ratio.p_value.toPrecision(2)}).`
        : `The groups do not have the sizes they should (p = ${results.sample_ratio.p_value.toPrecision(2)}): something sorts users, and no conclusion can be drawn.`,
      results.lost_exposures > 0 && ` ${count(results.lost_exposures)} decisions are missing, because the database did not keep up.`),
  ];
}

function right(group) {
  return group.accuracy === null ? "–" : h("span", { title: `of ${count(group.feedback)} with feedback` }, percent(group.accuracy, 1));
}

/** Where a difference lies, on a scale with zero in the middle; green or red when it is certain. */
function interval(difference, widest, { title, better, write }) {
  if (!difference) return h("span", { class: "muted" }, "too few users yet");
  const { estimate, low, high, is_certain: isCertain } = difference;
  const at = (value) => `${(50 + (48 * value) / widest).toFixed(2)}%`;
  const mood = !isCertain ? "open" : Math.sign(estimate) === better ? "good" : "bad";
  const label = `${title}: ${write(estimate)}, between ${write(low)} and ${write(high)}, ${isCertain ? "certain" : "not certain yet"}`;
  return h("span", { class: `interval ${mood}`, role: "img", "aria-label": label, title: label },
    h("span", { class: "scale" }, h("span", { class: "zero" }),
      h("span", { class: "spread", style: { left: at(low), width: `${((48 * (high - low)) / widest).toFixed(2)}%` } }),
      h("span", { class: "estimate", style: { left: at(estimate) } })),
    h("span", { class: "words" }, h("b", null, write(estimate)), h("span", null, `${write(low)} to ${write(high)}`)));
}

const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

function points(value) {
  return `${signed(100 * value, 1)} pt`;
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
