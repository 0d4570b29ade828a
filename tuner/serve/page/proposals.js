// What `tuner watch` proposes for servers in production: each as a table of what would change, and a person's answer, which has
// a name and a reason.

import { call } from "./api.js";
import { confirmed } from "./dialogs.js";
import { badge, h, put, say, state, unrealBanner } from "./elements.js";
import { studyLink } from "./studies.js";
import { capital, setting, when } from "./words.js";

const KEPT = "tuner-name";
const link = (one) => `#/proposals/${encodeURIComponent(one.id)}`;
const isOpen = (one) => ["open", "pending", "proposed", "new"].includes(one.state);

export async function proposals({ root, signal, heading }) {
  const { proposals: list } = await call("/proposals", { signal });
  const about = h(
    "p",
    { class: "quiet" },
    h("code", {}, "tuner watch URL"),
    " compares the traffic of a production server with what its config was tuned for, and proposes another where it has changed.",
  );
  if (!list.length) {
    put(root, heading("Proposals"), state("Nothing is proposed.", about));
    return;
  }
  const heads = ["Proposal", "State", "Study", "Made"];
  const row = (one) => {
    const cell = (at, content) => h("td", { role: "cell", "data-label": heads[at] }, h("div", {}, content));
    const name = h(
      "th",
      { scope: "row", role: "rowheader", "data-label": heads[0] },
      h("div", {}, h("a", { href: link(one) }, title(one))),
    );
    return h(
      "tr",
      { role: "row" },
      name,
      cell(1, badge(capital(one.state), kind(one))),
      cell(2, one.study ?? "–"),
      cell(3, when(one.created_at)),
    );
  };
  const head = h(
    "thead",
    { role: "rowgroup" },
    h(
      "tr",
      { role: "row" },
      heads.map((text) => h("th", { scope: "col", role: "columnheader" }, text)),
    ),
  );
  put(
    root,
    heading("Proposals"),
    about,
    h(
      "table",
      { class: "cards", role: "table", "aria-label": "Proposals" },
      head,
      h("tbody", { role: "rowgroup" }, list.map(row)),
    ),
  );
}

const kind = (one) => (isOpen(one) ? "running" : /reject|revert|fail/.test(one.state) ? "failed" : "finished");
const title = (one) => (one.url ? `${one.id}: ${one.url}` : `Proposal ${one.id}`);

export async function proposal({ root, signal, heading, again }, id) {
  const path = `/proposals/${encodeURIComponent(id)}`;
  const one = await call(path, { signal });
  const sentence = one.sentence ?? one.why ?? one.reason;
  put(
    root,
    h("p", { class: "crumbs" }, h("a", { href: "#/proposals" }, "Proposals")),
    h("div", { class: "title" }, heading(title(one)), badge(capital(one.state), kind(one))),
    unrealBanner(one.unreal),
    sentence ? h("p", {}, sentence) : null,
    one.study ? h("p", {}, "Study: ", h("a", { href: studyLink(one.study) }, one.study)) : null,
    difference(changes(one)),
    isOpen(one) ? answerForm(path, signal, again) : null,
    history(one),
  );
}

/** Each change with its setting, what it is and what it would be. */
function changes(one) {
  const found = one.changes ?? one.diff ?? [];
  const list = Array.isArray(found)
    ? found
    : Object.entries(found).map(([name, change]) => ({ setting: name, ...change }));
  return list.map((change) => ({
    name: change.setting ?? change.name,
    before: change.from ?? change.before ?? change.default,
    after: change.to ?? change.after ?? change.value,
  }));
}

function difference(list) {
  if (!list.length) return state("It changes no setting.");
  const cell = (value) =>
    h(
      "td",
      {},
      value === null || value === undefined ? h("span", { class: "quiet" }, "default") : h("code", {}, setting(value)),
    );
  const rows = list.map((one) =>
    h("tr", {}, h("th", { scope: "row" }, h("code", {}, one.name)), cell(one.before), cell(one.after)),
  );
  const head = h(
    "tr",
    {},
    ["Setting", "Now", "Proposed"].map((text) => h("th", { scope: "col" }, text)),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Changes" },
    h("table", { class: "compare", "aria-label": "What would change" }, h("thead", {}, head), h("tbody", {}, rows)),
  );
}

function answerForm(path, signal, again) {
  const by = h("input", { id: "by", type: "text", autocomplete: "name", value: sessionStorage.getItem(KEPT) ?? "" });
  const why = h("textarea", { id: "why", rows: "2" });
  const problem = h("p", { class: "wrong", role: "alert", id: "answer-problem" });
  const answer = async (verb, question, sentence, style) => {
    put(problem, "");
    for (const field of [by, why]) field.removeAttribute("aria-invalid");
    const empty = [by, why].find((field) => !field.value.trim());
    if (empty) {
      put(problem, empty === by ? "Say who you are." : "Say why: it is kept with your name.");
      empty.setAttribute("aria-invalid", "true");
      empty.focus();
      return;
    }
    if (!(await confirmed(question, sentence, capital(verb), style))) return;
    try {
      sessionStorage.setItem(KEPT, by.value.trim());
      await call(`${path}/${verb}`, { method: "POST", body: { by: by.value.trim(), why: why.value.trim() }, signal });
      say(verb === "approve" ? "Approved." : "Rejected.");
      await again();
    } catch (error) {
      if (!signal.aborted) put(problem, error.message);
    }
  };
  const approve = () =>
    answer(
      "approve",
      "Approve this proposal?",
      "It is tried on one replica first, and taken back by itself if that is worse.",
      "primary",
    );
  const reject = () => answer("reject", "Reject this proposal?", "Nothing changes.", "danger");
  return h(
    "form",
    {
      class: "panel",
      novalidate: true,
      "aria-labelledby": "answer-title",
      onsubmit: (event) => event.preventDefault(),
    },
    h("h2", { id: "answer-title" }, "Your answer"),
    h("div", { class: "field" }, h("label", { for: "by" }, "Your name"), by),
    h("div", { class: "field" }, h("label", { for: "why" }, "Reason"), why),
    problem,
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "primary", onclick: approve }, "Approve"),
      h("button", { type: "button", class: "danger", onclick: reject }, "Reject"),
    ),
  );
}

/** Who did what, when and why. */
function history(one) {
  const list = one.log ?? one.audit ?? one.history ?? [];
  if (!list.length) return null;
  const item = (entry) => h("li", {}, [when(entry.at), entry.by, entry.what, entry.why].filter(Boolean).join(" · "));
  return h(
    "section",
    { "aria-labelledby": "log-title" },
    h("h2", { id: "log-title" }, "What happened"),
    h("ol", { class: "notes" }, list.map(item)),
  );
}
