// What `tuner watch` proposes for servers in production: each as a table of what would change, and a person's answer, which has
// a name and a reason.

import { call, studyPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { badge, h, put, say, state, unrealBanner } from "./elements.js";
import { studyLink } from "./studies.js";
import { capital, percent, setting, when } from "./words.js";

const KEPT = "tuner-name";
/** What a person may do, by the state that a proposal is in. */
const ANSWERS = {
  tuning: ["reject"],
  open: ["approve", "reject"],
  approved: ["reject"],
  reverted: ["approve", "reject"],
  failed: ["approve", "reject"],
};
const KINDS = { tuning: "queued", open: "running", approved: "running", canary: "running", deployed: "finished" };
const HEADS = ["Proposal", "State", "What has changed", "Made"];

const idOf = (one) => one.id ?? one.proposal ?? one.number;
const link = (one) => `#/proposals/${encodeURIComponent(idOf(one))}`;
const title = (one) => `Proposal ${idOf(one)}: ${(one.urls ?? []).join(", ")}`;
const stateBadge = (one) => badge(capital(one.state), KINDS[one.state] ?? "failed");

export async function proposals({ root, signal, heading }) {
  const { proposals: list } = await call("/proposals?limit=200", { signal });
  const does = " compares the traffic of a production server with what its config was tuned for, and proposes another.";
  const about = h("p", { class: "quiet" }, h("code", {}, "tuner watch URL"), does);
  if (!list.length) {
    put(root, heading("Proposals"), state("Nothing is proposed.", about));
    return;
  }
  const heads = HEADS.map((text) => h("th", { scope: "col", role: "columnheader" }, text));
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
  const body = h("tbody", { role: "rowgroup" }, list.map(row));
  put(
    root,
    heading("Proposals"),
    about,
    h("table", { class: "cards", role: "table", "aria-label": "Proposals" }, head, body),
  );
}

function row(one) {
  const cell = (at, content) => h("td", { role: "cell", "data-label": HEADS[at] }, h("div", {}, content));
  const name = h("div", {}, h("a", { href: link(one) }, title(one)));
  return h(
    "tr",
    { role: "row" },
    h("th", { scope: "row", role: "rowheader", "data-label": HEADS[0] }, name),
    cell(1, stateBadge(one)),
    cell(2, one.drift),
    cell(3, when(one.created_at)),
  );
}

export async function proposal({ root, signal, heading, again }, id) {
  const path = `/proposals/${encodeURIComponent(id)}`;
  const one = await call(path, { signal });
  const word = await unrealWord(one.study_after, signal);
  const trial = typeof one.trial === "number" ? `, trial ${one.trial}` : "";
  const gain =
    typeof one.gain === "number" ? h("span", { class: "figure" }, ` ${percent(one.gain)} over vLLM's defaults`) : null;
  put(
    root,
    h("p", { class: "crumbs" }, h("a", { href: "#/proposals" }, "Proposals")),
    h("div", { class: "title" }, heading(title(one)), stateBadge(one)),
    unrealBanner(word),
    h("p", {}, one.drift),
    one.verdict ? h("p", {}, one.verdict, gain) : h("p", { class: "quiet" }, "Its study has not decided yet."),
    h(
      "p",
      {},
      "Tuned before: ",
      studyOf(one.study_before),
      ". Tuned for the new traffic: ",
      studyOf(one.study_after),
      trial,
      ".",
    ),
    difference("Settings", one.settings_changes ?? []),
    difference("Traffic", one.workload_changes ?? []),
    ANSWERS[one.state] ? answerForm(path, ANSWERS[one.state], signal, again) : null,
    history(one.log ?? []),
  );
}

const studyOf = (name) => (name ? h("a", { href: studyLink(name) }, name) : "none");

/** SIMULATED, where the study that a proposal comes from was; a study that is gone says nothing. */
async function unrealWord(name, signal) {
  if (!name) return null;
  try {
    return (await call(studyPath(name), { signal })).unreal;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

function difference(what, list) {
  const named = h("h2", {}, what);
  if (!list.length) return [named, h("p", { class: "quiet" }, "No change.")];
  const cell = (value) =>
    h("td", {}, value === null ? h("span", { class: "quiet" }, "–") : h("code", {}, setting(value)));
  const line = (one) =>
    h("tr", {}, h("th", { scope: "row" }, h("code", {}, one.name)), cell(one.before), cell(one.after));
  const head = h(
    "tr",
    {},
    ["Name", "Now", "Proposed"].map((text) => h("th", { scope: "col" }, text)),
  );
  const table = h(
    "table",
    { class: "compare", "aria-label": what },
    h("thead", {}, head),
    h("tbody", {}, list.map(line)),
  );
  return [
    named,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${what}, scrolls sideways` }, table),
  ];
}

function answerForm(path, allowed, signal, again) {
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
  const asked = {
    approve: ["Approve this proposal?", "It is noted that you agree. A canary on one replica comes first.", "primary"],
    reject: ["Reject this proposal?", "It is noted that it is not wanted. No server changes.", "danger"],
  };
  const button = (verb) => {
    const [question, sentence, style] = asked[verb];
    return h(
      "button",
      { type: "button", class: style, onclick: () => answer(verb, question, sentence, style) },
      capital(verb),
    );
  };
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
    h("div", { class: "buttons" }, allowed.map(button)),
  );
}

/** Who did what, when and why. */
function history(list) {
  if (!list.length) return null;
  const item = (step) => h("li", {}, [when(step.at), step.who, step.what, step.why].filter(Boolean).join(" · "));
  return h(
    "section",
    { "aria-labelledby": "log-title" },
    h("h2", { id: "log-title" }, "What happened"),
    h("ol", { class: "notes" }, list.map(item)),
  );
}
