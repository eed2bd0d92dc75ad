// Elements from data. Text always goes in as text, so nothing that a user or a server sends is run as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    // Set as properties: the page's policy allows no style in attributes.
    else if (name === "style") Object.entries(value).forEach(([property, is]) => element.style.setProperty(property, is));
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element: `h("p", { class: "muted" }, "text")`. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Replaces what is in an element, unless it would look the same or somebody is choosing something in it. */
export function show(id, ...children) {
  const place = document.getElementById(id);
  if (place.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
  const next = h("div", null, children);
  if (next.innerHTML !== place.innerHTML) place.replaceChildren(...next.childNodes);
}

/** Shows why a section has nothing to show. */
export function showFailure(id, failure) {
  document.getElementById(id).replaceChildren(h("p", { class: failure.status === 403 ? "muted" : "error" }, failure.message));
}

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
export const count = (number) => number.toLocaleString("en");
export const words = (name) => String(name).replaceAll("_", " ");
export const time = (at) => new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function milliseconds(ms) {
  if (ms === undefined || ms === null) return "–";
  return `${ms < 1 ? ms.toFixed(2) : ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

const MOODS = {
  healthy: "good", ready: "good", closed: "good", running: "good", adopt: "good",
  degraded: "warn", starting: "warn", draining: "warn", half_open: "warn", not_loaded: "warn", keep_collecting: "info",
  unhealthy: "bad", unavailable: "bad", open: "bad", sample_ratio_mismatch: "bad", stop: "bad",
};

/** A word with the colour of what it means; the word alone says it too. */
export const badge = (word, text = words(word)) => h("span", { class: `badge ${MOODS[word] ?? ""}` }, text);

/** A horizontal bar from 0 to 1 in the colour of a model, with a mark where something is needed. */
export function bar(value, { mark, model, label }) {
  const part = (share) => `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
  return h("span", { class: "bar", "data-model": model, role: "img", "aria-label": label, title: label },
    h("span", { class: "fill", style: { width: part(value) } }),
    mark !== undefined && h("span", { class: "mark", style: { left: part(mark) } }));
}

/** Parts of a whole beside each other: `[{ name, value, model }]`. */
export function stack(parts, label) {
  const whole = parts.reduce((sum, part) => sum + part.value, 0);
  return h("div", { class: "stack", role: "img", "aria-label": label },
    parts.filter((part) => part.value > 0).map((part) =>
      h("span", { "data-model": part.model, title: part.name, style: { "flex-grow": String(part.value / whole) } })));
}

/** A table that becomes a list of cards in a narrow window. Columns: `{ title, number }`. */
export function table(columns, rows) {
  const cell = (content, index) =>
    h(index === 0 ? "th" : "td", { class: columns[index].number && "number", scope: index === 0 && "row", "data-title": columns[index].title }, content);
  return h("table", null,
    h("thead", null, h("tr", null, columns.map(({ title, number }) => h("th", { scope: "col", class: number && "number" }, title)))),
    h("tbody", null, rows.map((cells) => h("tr", null, cells.map(cell)))));
}

/** A model's name with its colour. */
export const modelName = (name) => h("span", { class: "model", "data-model": name }, h("span", { class: "dot" }), words(name));
