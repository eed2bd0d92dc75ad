// Feature flags: a switch, a share of the users, and who changed what.

import { call, get } from "./api.js";
import { badge, h, showFailure, time, words } from "./dom.js";

const rows = new Map();

export async function refresh() {
  try {
    const { flags } = await get("api/v1/feature-flags");
    const view = document.getElementById("flags-view");
    if (rows.size === 0) view.replaceChildren();
    for (const [name, flag] of Object.entries(flags)) {
      if (!rows.has(name)) {
        rows.set(name, new Row(flag));
        view.append(rows.get(name).element);
      }
      rows.get(name).update(flag);
    }
  } catch (failure) {
    rows.clear();
    showFailure("flags-view", failure);
    return failure;
  }
  return undefined;
}

const inForce = (flag) => (flag.enabled ? `on for ${flag.rollout_percentage} %` : "off");

function say(message) {
  const place = document.getElementById("flags-message");
  place.textContent = message;
}

class Row {
  constructor(flag) {
    this.path = `api/v1/feature-flags/${flag.name}`;
    this.name = words(flag.name);
    this.isBusy = false;
    this.box = h("input", { type: "checkbox", role: "switch", "aria-label": `${this.name} on`,
      onchange: () => this.change({ enabled: this.box.checked }) });
    this.range = h("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": `${this.name}: percent of the users`,
      oninput: () => { this.number.value = this.range.value; this.paint(); },
      onchange: () => this.change({ rollout_percentage: Number(this.range.value) }) });
    this.number = h("input", { type: "number", min: 0, max: 100, step: "any", "aria-label": `${this.name}: percent of the users, exactly`,
      onchange: () => this.number.reportValidity() && this.change({ rollout_percentage: Number(this.number.value) }) });
    this.source = h("span", { class: "source" });
    this.history = h("div", { class: "history" });
    this.conflict = h("div", { class: "conflict", role: "alert" });
    this.historyButton = h("button", { type: "button", class: "quiet", "aria-expanded": "false", "aria-label": `History of ${this.name}`,
      onclick: () => this.toggleHistory() }, "History");
    this.element = h("div", { class: "flag", "data-flag": flag.name },
      this.box,
      h("div", { class: "name" }, h("strong", null, this.name), this.source, h("span", { class: "muted" }, flag.description)),
      h("div", { class: "slider" }, this.range, h("label", { class: "exact" }, this.number, "%")),
      this.historyButton, this.conflict, this.history);
  }

  /** Shows a flag's state, but never under the hands of who is changing it. */
  update(flag) {
    const isUnderHands = this.element.contains(document.activeElement) && document.activeElement.matches("input");
    if (!this.isBusy && !this.conflict.hasChildNodes() && !isUnderHands) this.take(flag);
  }

  take(flag) {
    this.flag = flag;
    this.box.checked = flag.enabled;
    this.range.value = this.number.value = flag.rollout_percentage;
    this.element.classList.toggle("off", !flag.enabled);
    this.source.replaceChildren(flag.source === "default" ? "" : badge(flag.source, `by ${flag.source}`));
    this.paint();
  }

  paint() {
    this.range.style.setProperty("--share", `${this.range.value}%`);
  }

  /** Changes the flag as it is shown; when somebody else changed it meanwhile, the person decides. */
  async change(change, expected = this.flag.revision) {
    this.isBusy = true;
    this.conflict.replaceChildren();
    try {
      const match = expected === undefined ? {} : { "If-Match": `"${expected}"` };
      this.take(await (change ? call("PUT", this.path, change, match) : call("POST", `${this.path}/reset`, undefined, match)));
      say(`${this.name} is ${inForce(this.flag)}.`);
    } catch (failure) {
      if (failure.status === 409) await this.showConflict(change);
      else {
        this.take(this.flag);
        say(`${this.name} was not changed. ${failure.message}`);
      }
    } finally {
      this.isBusy = false;
    }
    if (this.history.hasChildNodes()) await this.showHistory();
  }

  async showConflict(change) {
    const theirs = await get(this.path);
    const wanted = change ? { ...theirs, ...change } : undefined;
    this.take(theirs);
    say("");
    this.conflict.replaceChildren(
      h("p", null, `Not changed: somebody else has changed ${this.name} since you saw it. It is ${inForce(theirs)} now.`),
      h("p", { class: "row" },
        h("button", { type: "button", onclick: () => this.change(change, theirs.revision) },
          wanted ? `Make it ${inForce(wanted)}` : "Go back to the configuration"),
        h("button", { type: "button", onclick: () => this.conflict.replaceChildren() }, "Leave it")));
  }

  async toggleHistory() {
    if (this.history.hasChildNodes()) this.history.replaceChildren();
    else await this.showHistory();
    this.historyButton.setAttribute("aria-expanded", String(this.history.hasChildNodes()));
  }

  async showHistory() {
    try {
      const { changes } = await get(`${this.path}/history?limit=20`);
      this.history.replaceChildren(
        changes.length === 0
          ? h("p", { class: "muted" }, "Never changed over HTTP: default, file and environment decide.")
          : h("ol", null, changes.map((change) => h("li", null,
            h("span", null, `${said(change.from)} → `, h("strong", null, said(change.to))),
            h("span", { class: "muted" }, `${change.changed_by}, ${time(change.changed_at)}`)))),
        this.flag.source === "api" && h("button", { type: "button", onclick: () => this.change(undefined) }, "Go back to the configuration") || "");
    } catch (failure) {
      this.history.replaceChildren(h("p", { class: "error" }, failure.message));
    }
  }
}

/** What was said of a flag over HTTP. */
function said(change) {
  if (!change) return "as configured";
  const parts = [];
  if (change.enabled !== null) parts.push(change.enabled ? "on" : "off");
  if (change.rollout_percentage !== null) parts.push(`${change.rollout_percentage} %`);
  return parts.join(", ") || "as configured";
}
