// The list of studies, the newest first, looked at again every few seconds while somebody can see it.

import { call, studyPath } from "./api.js";
import { badge, h, keyed, put, state, unreal } from "./elements.js";
import { capital, isActive, percent, provenGain, stateWord, when, withUnit } from "./words.js";

const EVERY_MS = 4000;
const PAGE = 50;

export async function studies({ root, signal, heading }) {
  let shown = [];
  const first = await call(`/studies?limit=${PAGE}`, { signal });
  let next = first.next;
  const head = h(
    "div",
    { class: "title" },
    heading("Studies"),
    h("a", { class: "button primary", href: "#/new" }, "Start a study"),
  );
  const body = h("tbody", { role: "rowgroup" });
  const more = h("button", { type: "button", onclick: grow }, "Show more");
  const list = h("div", {}, table(body), h("div", { class: "buttons" }, more));
  const none = state(
    "There is no study yet.",
    h("p", { class: "quiet" }, "Start one here, or with ", h("code", {}, "tuner optimize"), "."),
  );
  put(root, head, list, none);
  draw(first.studies);

  function draw(studiesNow) {
    shown = studiesNow;
    list.hidden = shown.length === 0;
    none.hidden = shown.length > 0;
    more.hidden = next === null;
    keyed(body, shown, (one) => one.name, newRow, fillRow);
  }

  async function grow() {
    more.disabled = true;
    try {
      const page = await call(`/studies?limit=${PAGE}&after=${encodeURIComponent(next)}`, { signal });
      next = page.next;
      draw([...shown, ...page.studies.filter((one) => !shown.some((old) => old.name === one.name))]);
    } catch (error) {
      if (error.status !== 0 && !signal.aborted) throw error; // the banner says that nobody answers
    } finally {
      more.disabled = false;
    }
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const page = await call(`/studies?limit=${PAGE}`, { signal });
      const fresh = new Set(page.studies.map((one) => one.name));
      const rest = shown.length > PAGE ? shown.filter((one) => !fresh.has(one.name)) : [];
      if (shown.length <= PAGE) next = page.next;
      draw([...page.studies, ...rest]);
    } catch {
      // the banner says that nobody answers; the list stays as it was
    }
  }

  const timer = setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", refresh);
  });
}

const HEADS = ["Study", "State", "Best so far", "Verdict", "Model, card and workload", "Begun"];

function table(body) {
  const heads = HEADS.map((text) => h("th", { scope: "col", role: "columnheader" }, text));
  return h(
    "table",
    { class: "cards studies", role: "table", "aria-label": "Studies" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    body,
  );
}

const newRow = () => h("tr", { role: "row" });

function fillRow(row, one) {
  const seen = JSON.stringify(one);
  if (row.seen === seen) return;
  row.seen = seen;
  const hadFocus = row.contains(document.activeElement);
  const cell = (at, ...content) => h("td", { role: "cell", "data-label": HEADS[at] }, h("div", {}, content));
  const link = h("a", { href: `#/study/${encodeURIComponent(one.name)}` }, one.name);
  const progress = h("span", { class: "quiet" }, `${one.trials_finished} of ${one.trials_wanted ?? "?"} trials`);
  put(
    row,
    h("th", { scope: "row", role: "rowheader", "data-label": HEADS[0] }, h("div", {}, link, " ", unreal(one.unreal))),
    cell(1, badge(stateWord(one.state), one.state), " ", progress),
    cell(2, best(one.best)),
    cell(3, verdict(one)),
    cell(4, h("span", {}, one.model), h("span", { class: "quiet" }, ` ${one.gpu} · ${one.workload}`)),
    cell(5, when(one.created_at)),
  );
  if (hadFocus) link.focus({ preventScroll: true });
}

function best(found) {
  return found
    ? [
        h("span", { class: "figure" }, withUnit(found.metric, found.value)),
        h("span", { class: "quiet" }, ` trial ${found.trial}`),
      ]
    : "–";
}

function verdict({ verdict: found, state: now }) {
  if (!found) return "–";
  if (isActive(now)) return h("span", { class: "quiet" }, `so far: ${found.answer}`);
  const gain = provenGain(found);
  return [capital(found.answer), gain === null ? null : h("span", { class: "quiet" }, ` ${percent(gain)}`)];
}

export const studyLink = (name) => `#${studyPath(name).replace("/studies/", "/study/")}`;
