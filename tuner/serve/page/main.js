// The address in, the view of it out: hash routes, so that back, forward and bookmarks work. A view is a function of its
// context and the parts of its address; it lives until its signal says that another one has come.

import { ApiError, call, prepare } from "./api.js";
import { compare } from "./compare.js";
import { askToken } from "./dialogs.js";
import { h, put, say, state } from "./elements.js";
import { proposal, proposals } from "./proposals.js";
import { report } from "./report.js";
import { start } from "./start.js";
import { studies } from "./studies.js";
import { study } from "./study.js";

const ROUTES = [
  [/^\/?$/, studies, "studies"],
  [/^\/new$/, start, "studies"],
  [/^\/study\/([^/]+)$/, study, "studies"],
  [/^\/study\/([^/]+)\/report$/, report, "studies"],
  [/^\/study\/([^/]+)\/compare\/(\d+(?:,\d+)*)$/, compare, "studies"],
  [/^\/proposals$/, proposals, "proposals"],
  [/^\/proposals\/([^/]+)$/, proposal, "proposals"],
];
const AGAIN_MS = 3000;

const main = document.getElementById("main");
const offline = document.getElementById("offline");
let leaving = new AbortController();
let moved = false;
let broken = false;

async function show() {
  leaving.abort();
  leaving = new AbortController();
  broken = false;
  const { signal } = leaving;
  const [view, parts, place] = find(decodeHash());
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = h("div", { class: "view" });
  const context = { root, signal, heading: (text, ...more) => heading(text, signal, more), again };
  put(main, root);
  const slow = setTimeout(() => root.children.length || put(root, state("Loading…")), 300);
  try {
    await view(context, ...parts);
  } catch (error) {
    if (signal.aborted) return;
    fail(root, error, signal);
  } finally {
    clearTimeout(slow);
  }
}

/** The same view anew: who has changed something begins at its heading. */
function again() {
  moved = true;
  return show();
}

function find(path) {
  if (path !== null) {
    for (const [pattern, view, place] of ROUTES) {
      const found = pattern.exec(path);
      if (found) return [view, found.slice(1).map(decodeURIComponent), place];
    }
  }
  return [nowhere, [], ""];
}

function decodeHash() {
  try {
    const path = location.hash.replace(/^#/, "");
    decodeURIComponent(path);
    return path;
  } catch {
    return null;
  }
}

async function nowhere({ root, heading }) {
  put(
    root,
    heading("There is no such page"),
    state("The address names nothing that this page has.", h("a", { href: "#/" }, "All studies")),
  );
}

/** The one heading of a view: it is the title of the tab, and has the focus when somebody has come from another view. */
function heading(text, signal, more) {
  const element = h("h1", { tabindex: "-1" }, text, more);
  document.title = `${text} – tuner`;
  if (moved) {
    requestAnimationFrame(() => !signal.aborted && !document.querySelector("dialog[open]") && element.focus());
  }
  return element;
}

function fail(root, error, signal) {
  const told = error instanceof ApiError;
  if (!told) console.error(error);
  broken = told && error.status === 0;
  const title = { 0: "The service does not answer", 401: "A token is needed", 404: "Not found" }[
    told ? error.status : -1
  ];
  const next = h("button", { type: "button", onclick: show }, error.status === 401 ? "Give a token" : "Try again");
  put(
    root,
    heading(title ?? "That did not work", signal, []),
    state(
      broken
        ? "Start it with `tuner serve`. This page tries again by itself."
        : told
          ? error.message
          : "The page itself has failed: please report it.",
      h("div", { class: "buttons" }, next, h("a", { href: "#/" }, "All studies")),
    ),
  );
}

function reached(answered) {
  if (answered && !offline.hidden) {
    offline.hidden = true;
    say("The service answers again.");
    if (broken) show();
  } else if (!answered && offline.hidden) {
    offline.hidden = false;
    put(offline, "The service does not answer: what you see may be old. This page tries again by itself.");
    setTimeout(knock, AGAIN_MS);
  }
}

async function knock() {
  try {
    await call("/health");
  } catch (error) {
    if (error.status === 0) setTimeout(knock, AGAIN_MS);
  }
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  moved = true;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  show();
});
prepare(askToken, reached);
show();
