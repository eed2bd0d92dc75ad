// Starts every section and keeps fresh what is seen.

import { get, hasToken, onTokenNeeded, setToken } from "./api.js";
import { badge, h, show } from "./dom.js";
import * as experiments from "./experiments.js";
import * as feedback from "./feedback.js";
import * as flags from "./flags.js";
import * as health from "./health.js";
import * as lowConfidence from "./low-confidence.js";
import * as routing from "./routing.js";
import * as traffic from "./traffic.js";
import * as trying from "./try.js";

/** Each section, and how often it is read again while it is in sight, in seconds. */
const SECTIONS = [
  ["traffic", traffic.refresh, 3],
  ["health", health.refresh, 5],
  ["flags", flags.refresh, 10],
  ["routing", routing.refresh, 20],
  ["experiments", experiments.refresh, 20],
  ["low-confidence", lowConfidence.refresh, 10],
  ["feedback", feedback.refresh, 20],
];

const dialog = document.getElementById("token-dialog");
const input = document.getElementById("token-input");
const tokenButton = document.getElementById("token-button");

function openDialog(reason) {
  if (dialog.open) return;
  input.value = "";
  document.getElementById("token-reason").textContent = reason ?? "This server answers only those it knows.";
  document.getElementById("token-forget").hidden = !hasToken();
  dialog.showModal();
}

function showToken() {
  tokenButton.textContent = hasToken() ? "Token set" : "Token";
}

tokenButton.addEventListener("click", () => openDialog());
// Enter uses the token: without this it would press the first button.
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  dialog.close("use");
});
dialog.addEventListener("close", () => {
  if (dialog.returnValue === "use" && input.value.trim()) setToken(input.value.trim());
  else if (dialog.returnValue === "forget") setToken(undefined);
  else return;
  hasAsked = dialog.returnValue === "forget";
  dialog.returnValue = "";
  input.value = "";
  showToken();
  SECTIONS.forEach(([, refresh]) => refresh());
  trying.refresh();
});

// Asked once by itself for each token; then the person decides when to try again.
let hasAsked = false;
onTokenNeeded((reason) => {
  if (!hasAsked) openDialog(reason);
  hasAsked = true;
});

async function status() {
  try {
    const ready = await get("health/ready");
    const affected = ready.affected?.length ? ` without ${ready.affected.join(", ")}` : "";
    const state = ready.status + affected;
    const version = ready.model_version ?? "";
    show("status", h("span", { title: state }, badge(ready.status, state)), h("span", { class: "version", title: version }, version));
  } catch (failure) {
    show("status", badge("unavailable", failure.status === 0 ? "no answer" : "unknown"));
  }
}

/** Reads a section again and again: at once, then while it is in sight of somebody. */
function keepFresh(refresh, seconds, isSeen) {
  const again = async () => {
    const waitSeconds = !document.hidden && isSeen() ? (await refresh())?.waitSeconds ?? 0 : 0;
    setTimeout(again, 1000 * Math.max(seconds, waitSeconds));
  };
  refresh().then(() => setTimeout(again, 1000 * seconds));
}

const inSight = new Set();
const observer = new IntersectionObserver((entries) => {
  entries.forEach(({ target, isIntersecting }) => inSight[isIntersecting ? "add" : "delete"](target.id));
});

showToken();
trying.start();
keepFresh(status, 5, () => true);
for (const [id, refresh, seconds] of SECTIONS) {
  observer.observe(document.getElementById(id));
  keepFresh(refresh, seconds, () => inSight.has(id));
}
