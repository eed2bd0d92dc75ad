// Models and dependencies, as background checks found them.

import { get } from "./api.js";
import { badge, h, milliseconds, modelName, show, showFailure, table, words } from "./dom.js";

let known = {};

/** All models as they were seen last, by name. */
export const models = () => known;

export async function refresh() {
  const outcomes = await Promise.all([showModels(), showDependencies()]);
  return outcomes.find(Boolean);
}

async function showModels() {
  try {
    known = (await get("health/models")).models;
    const columns = [{ title: "Model" }, { title: "State" }, { title: "Probe", number: true }, { title: "p50", number: true }, { title: "p95", number: true }];
    show("health-models", table(columns, Object.entries(known).map(([name, model]) => [
      modelName(name), state(model.status, model.reason), milliseconds(model.latency_ms), milliseconds(model.p50_ms), milliseconds(model.p95_ms)])));
  } catch (failure) {
    showFailure("health-models", failure);
    return failure;
  }
  return undefined;
}

async function showDependencies() {
  try {
    const { postgres, redis, torchserve } = await get("health/dependencies");
    const rows = Object.entries({ postgres, redis, torchserve }).map(([name, one]) =>
      [words(name), state(one.status, one.error), milliseconds(one.latency_ms)]);
    show("health-dependencies", table([{ title: "Dependency" }, { title: "State" }, { title: "Check", number: true }], rows));
  } catch (failure) {
    showFailure("health-dependencies", failure);
    return failure;
  }
  return undefined;
}

/** A state; why it is so is in the title of what nobody asked for, and beside what is wrong. */
function state(status, reason) {
  const isWrong = !["healthy", "not_configured"].includes(status);
  return h("span", { title: reason }, badge(status), isWrong && reason && h("span", { class: "muted reason" }, reason));
}
