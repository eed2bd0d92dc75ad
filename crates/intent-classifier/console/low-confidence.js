// Texts that no model was sure of: what to teach next.

import { get } from "./api.js";
import { choices, sent } from "./feedback.js";
import { count, h, modelName, percent, show, showFailure, time, words } from "./dom.js";
import { intents, tryText } from "./try.js";

/** How many are shown. */
const SHOWN = 12;

export async function refresh() {
  try {
    const { keeps_texts: keepsTexts, decisions } = await get("api/v1/intents/low-confidence");
    const known = (await intents()).map(({ name }) => name);
    show("low-confidence-view",
      !keepsTexts && h("p", { class: "notice" }, "Texts are not kept: the flag ", h("a", { href: "#flags" }, "enhanced logging"),
        " is off. Switch it on, for a share of the users if you like, and the texts of those users appear here from then on; switch it off, and they are forgotten."),
      decisions.length === 0
        ? h("p", { class: "muted" }, "Every text so far was answered with confidence.")
        : h("ul", { class: "doubts" }, decisions.slice(0, SHOWN).map((decision) => item(decision, known))),
      decisions.length > SHOWN && h("p", { class: "muted" }, `and ${count(decisions.length - SHOWN)} more`));
  } catch (failure) {
    showFailure("low-confidence-view", failure);
    return failure;
  }
  return undefined;
}

function item(decision, known) {
  const { text, text_truncated: isTruncated, intent, confidence, runner_up: runnerUp, model } = decision;
  const second = runnerUp && ` or ${words(runnerUp.intent)} (${percent(runnerUp.confidence)})`;
  return h("li", null,
    h("p", { class: "text" }, text ?? h("span", { class: "muted" }, `a text of ${count(decision.chars)} characters`),
      decision.times > 1 && h("span", { class: "badge" }, `${count(decision.times)} times`)),
    h("p", { class: "muted" }, modelName(model), ` ${words(intent)} (${percent(confidence)})`, second, h("time", { datetime: decision.at }, time(decision.at))),
    text !== null && !isTruncated && teach(decision, known));
}

/** Says what a text should have been taken for; only where all of it is there. */
function teach(decision, known) {
  const choice = h("select", { "aria-label": `what “${decision.text}” is` }, choices(known, decision.intent));
  const message = h("span", { role: "status", class: "muted" });
  return h("div", { class: "row" }, choice,
    h("button", { type: "button", onclick: async () => {
      message.textContent = await sent({ request_id: decision.request_id, text: decision.text, original_intent: decision.intent,
        correct_intent: choice.value, original_confidence: decision.confidence });
    } }, "That is it"),
    h("button", { type: "button", class: "quiet", onclick: () => tryText(decision.text) }, "Try it"), message);
}
