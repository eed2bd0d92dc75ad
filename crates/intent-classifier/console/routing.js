// What the router goes by.

import { get } from "./api.js";
import { bar, h, modelName, percent, show, showFailure, words } from "./dom.js";

let targets = { critical: 50, standard: 200, relaxed: 500 };

/** How soon answers are due, in milliseconds, by latency requirement. */
export const latencyTargets = () => targets;

export async function refresh() {
  try {
    const config = await get("api/v1/intents/routing/config");
    targets = config.latency_targets_ms;
    const models = Object.entries(config.thresholds);
    show("routing-view",
      h("p", null, "Strategy ", h("strong", null, words(config.strategy)),
        config.experiment.share > 0 && `; ${percent(config.experiment.share)} of the users try ${config.experiment.strategies.map(words).join(", ")}`),
      h("h3", null, "How sure a model has to be"),
      h("div", { class: "alternatives" }, models.map(([model, threshold]) => [
        modelName(model),
        bar(threshold, { mark: threshold, model, label: `${words(model)} has to be ${percent(threshold, 1)} sure` }),
        h("span", { class: "number" }, threshold > 1 ? "never" : threshold === 0 ? "any" : percent(threshold, 1))])),
      h("h3", null, "How soon an answer is due"),
      h("ul", { class: "figures small" }, ["critical", "standard", "relaxed"].map((name) =>
        h("li", null, h("b", null, `${targets[name]} ms`), h("span", null, name)))));
  } catch (failure) {
    showFailure("routing-view", failure);
    return failure;
  }
  return undefined;
}
