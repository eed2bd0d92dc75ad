// Was the answer right? What people say, and what has been said so far.

import { call, get } from "./api.js";
import { bar, count, h, modelName, percent, show, showFailure, table, words } from "./dom.js";

/** A form for a word on an answer: right, or what it should have been. */
export function form(answer, asked, intents) {
  const choice = h("select", null, choices(intents, answer.intent));
  const message = h("p", { role: "status", class: "muted" });
  const send = async (correct) => {
    message.textContent = await sent({
      request_id: answer.request_id, text: asked.text, original_intent: answer.intent, correct_intent: correct,
      original_confidence: answer.confidence, user_id: asked.user_id,
    });
    refresh();
  };
  return h("div", { class: "verdict" },
    h("h3", null, "Was that right?"),
    h("div", { class: "row" },
      h("button", { type: "button", onclick: () => send(answer.intent) }, "Yes"),
      h("label", null, "No, it should be", choice),
      h("button", { type: "button", onclick: () => send(choice.value) }, "Correct it")),
    message);
}

/** The intents to choose from, with what stands for none. */
export function choices(intents, chosen) {
  return [...intents, "out_of_scope"].map((intent) =>
    h("option", { value: intent, selected: intent === chosen }, intent === "out_of_scope" ? "none of them" : words(intent)));
}

/** Sends feedback; resolves to what came of it, in words. */
export async function sent(feedback) {
  const feedback_type = feedback.correct_intent === feedback.original_intent ? "confirmation" : "correction";
  try {
    const { status } = await call("POST", "api/v1/intents/feedback", { ...feedback, feedback_type });
    const what = feedback_type === "confirmation" ? "Confirmed" : `Corrected to ${words(feedback.correct_intent)}`;
    return status === "spooled" ? `${what}; kept on disk until the database is back.` : `${what} and stored. Thank you.`;
  } catch (failure) {
    return failure.message;
  }
}

/** Shows what was said so far. */
export async function refresh() {
  try {
    const stats = await get("api/v1/intents/feedback/stats");
    if (stats.total === 0 && stats.spooled === 0) {
      show("feedback-view", h("p", { class: "muted" }, "Nobody has said anything yet. Try a text and say whether the answer is right: corrections are what the models learn from."));
      return undefined;
    }
    const figure = (value, name) => h("li", null, h("b", null, value), h("span", null, name));
    show("feedback-view",
      h("ul", { class: "figures" },
        figure(count(stats.total), "in all"),
        figure(stats.agreement_rate === null ? "–" : percent(stats.agreement_rate), "agree"),
        stats.spooled > 0 && figure(count(stats.spooled), "wait for the database")),
      h("div", { class: "alternatives" }, Object.entries(stats.by_model).map(([model, { total, agreement_rate }]) => [
        modelName(model),
        bar(agreement_rate ?? 0, { model, label: `${words(model)}: ${percent(agreement_rate ?? 0)} of ${count(total)} agree` }),
        h("span", { class: "number" }, percent(agreement_rate ?? 0))])),
      stats.by_intent_pair.length > 0 && [
        h("h3", null, "Most frequent corrections"),
        table([{ title: "From" }, { title: "To" }, { title: "Times", number: true }],
          stats.by_intent_pair.slice(0, 5).map((pair) => [words(pair.original_intent), words(pair.correct_intent), count(pair.count)]))]);
  } catch (failure) {
    showFailure("feedback-view", failure);
    return failure;
  }
  return undefined;
}
