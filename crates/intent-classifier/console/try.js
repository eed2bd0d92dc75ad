// A text is sent, and its decision drawn.

import { call, get } from "./api.js";
import { h, show, showFailure } from "./dom.js";
import { decision } from "./decision.js";
import { form } from "./feedback.js";
import { models } from "./health.js";
import { latencyTargets } from "./routing.js";

/** Texts for the pack that comes with the program. */
const EXAMPLES = {
  "prompt-tasks": [
    "Write a Python function to reverse a string",
    "my kettle trips the fuse every morning, any idea?",
    "something about bananas and trains, maybe as a poem",
    "How do you say good morning in Japanese?",
    "asdf qwer zxcv",
  ],
};

const text = document.getElementById("text");
let pack;

/** Resolves to the intent pack; empty when it cannot be read. */
export async function intents() {
  pack ??= get("api/v1/intents/types");
  try {
    return (await pack).intents;
  } catch {
    pack = undefined;
    return [];
  }
}

/** Shows the examples of the pack. */
export async function refresh() {
  await intents();
  const examples = EXAMPLES[(await pack)?.name] ?? [];
  show("examples", examples.map((example) => h("button", { type: "button", class: "chip", onclick: () => tryText(example) }, example)));
}

export function start() {
  const form = document.getElementById("try-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    classify();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  refresh();
}

/** Puts a text into the field and classifies it. */
export function tryText(content) {
  text.value = content;
  document.getElementById("try").scrollIntoView();
  classify();
}

async function classify() {
  const asked = {
    text: text.value,
    latency_requirement: document.querySelector("input[name=latency]:checked").value,
    top_k: 5,
  };
  const user = document.getElementById("user").value.trim();
  if (user) asked.user_id = user;
  try {
    const answer = await call("POST", "api/v1/intents/classify", asked);
    const known = await intents();
    const about = { asked, models: models(), description: known.find(({ name }) => name === answer.intent)?.description,
      targetMs: latencyTargets()[asked.latency_requirement] };
    show("decision", decision(answer, about), form(answer, asked, known.map(({ name }) => name)));
  } catch (failure) {
    showFailure("decision", failure);
  }
}
