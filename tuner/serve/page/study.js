// One study, as it is now: state, what runs, what it says in the end, its trials. While something may come of it the events of
// the service keep it so; otherwise it is asked for every few seconds, for a terminal may go on with it.

import { ApiError, call, download, hasToken, studyPath, url } from "./api.js";
import { confirmed } from "./dialogs.js";
import { badge, h, put, say, state, unreal, unrealBanner } from "./elements.js";
import { live } from "./live.js";
import { follow } from "./stream.js";
import { studyLink } from "./studies.js";
import { trialsOf } from "./trial_list.js";
import { trialTable } from "./trials.js";
import { capital, isActive, percent, provenGain, recommendedTrial, stateWord, when } from "./words.js";

const EVERY_MS = 5000;
const ACTIONS = {
  pause: ["Pause", "Pause this study?", "The launch that runs is stopped; finished trials are kept.", "primary"],
  resume: ["Resume", "Resume this study?", "It goes on as soon as its card is free.", "primary"],
  cancel: ["Cancel", "Cancel this study?", "The launch that runs is stopped; finished trials are kept.", "danger"],
};
const ALLOWED = {
  queued: ["pause", "cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  failed: ["resume"],
};

export async function study({ root, signal, heading }, name) {
  const path = studyPath(name);
  const [first, options] = await Promise.all([call(path, { signal }), formats(signal)]);
  const list = trialsOf(name);
  await list.load(signal);
  const view = parts(first, options, heading, act);
  put(root, view.elements);
  let now = null;
  draw(first);
  view.trials.update(list.all(), now, list.isWhole());
  list.all().forEach(view.live.trial);
  view.trials.onMore(() => list.grow(signal).then(redraw, shown));
  keepUp().catch(shown);

  function draw(fresh) {
    if (now && now.state !== fresh.state) say(`The study is ${stateWord(fresh.state).toLowerCase()}.`);
    now = fresh;
    view.update(now);
  }

  function redraw() {
    view.trials.update(list.all(), now, list.isWhole());
  }

  async function refresh() {
    const fresh = await call(path, { signal });
    const moved = fresh.state !== now.state || fresh.trials_finished !== now.trials_finished;
    draw(fresh);
    if (moved) await reload();
  }

  async function reload() {
    await list.load(signal);
    redraw();
  }

  async function keepUp() {
    while (!signal.aborted) {
      if (isActive(now.state)) await watch();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
      if (!signal.aborted && !document.hidden) await refresh().catch((error) => error.status === 0 || shown(error));
    }
  }

  async function watch() {
    const own = new AbortController();
    const stop = () => own.abort();
    signal.addEventListener("abort", stop);
    let wasLost = false;
    const told = {
      state: (data) => view.live.state(data),
      trial: (data) => {
        list.put(data);
        view.live.trial(data);
        redraw();
      },
      study: (data) => {
        draw(data);
        if (isActive(data.state)) return;
        stop();
        reload().catch(shown);
      },
      note: (data) => view.live.note(data.text),
    };
    const onEvent = (event, data) => {
      const content = parsed(data);
      if (content !== null) told[event]?.(content);
    };
    await follow(`${path}/events`, own.signal, onEvent, (link) => {
      view.live.link(link);
      if (link === "live" && wasLost)
        refresh()
          .then(reload)
          .catch(() => {});
      wasLost = link === "lost";
    });
    signal.removeEventListener("abort", stop);
  }

  async function act(action) {
    const [word, title, sentence, kind] = ACTIONS[action];
    if (!(await confirmed(title, sentence, word, kind))) return;
    try {
      view.complain("");
      draw(await call(`${path}/${action}`, { method: "POST", signal }));
    } catch (error) {
      if (!signal.aborted) view.complain(error.message);
    }
  }

  function shown(error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    view.complain(error.message);
  }
}

async function formats(signal) {
  try {
    return (await call("/options", { signal })).formats ?? [];
  } catch (error) {
    if (error.status === 0 || error.status === 401) throw error;
    return [];
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

function parts(first, formatNames, heading, act) {
  const badges = h("span", { class: "badges" });
  const buttons = Object.entries(ACTIONS).map(([action, [word, , , kind]]) =>
    h(
      "button",
      {
        type: "button",
        class: kind === "danger" ? "danger" : "",
        onclick: () => act(action),
        hidden: true,
        "data-action": action,
      },
      word,
    ),
  );
  const problem = h("p", { class: "wrong", role: "alert" });
  const message = h("p", { class: "quiet" });
  const answer = h("section", { "aria-label": "Verdict", class: "panel verdict" });
  const complain = (sentence) => put(problem, sentence);
  const running = live(first);
  const trials = trialTable(first);
  const elements = [
    h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Studies")),
    h("div", { class: "title" }, heading(first.name), badges, h("div", { class: "buttons" }, buttons)),
    unrealBanner(first.unreal),
    facts(first),
    problem,
    message,
    running.element,
    answer,
    h("div", { class: "pair" }, reportPanel(first), filesPanel(first, formatNames, complain)),
    trials.element,
  ];

  function update(one) {
    put(badges, badge(stateWord(one.state), one.state), " ", unreal(one.unreal));
    const allowed = ALLOWED[one.state] ?? [];
    const lost = buttons.find(
      (button) => button === document.activeElement && !allowed.includes(button.dataset.action),
    );
    for (const button of buttons) button.hidden = !allowed.includes(button.dataset.action);
    if (lost) (buttons.find((button) => !button.hidden) ?? document.querySelector("h1")).focus();
    put(message, one.message ?? "");
    message.hidden = !one.message;
    running.update(one);
    tellVerdict(answer, one);
  }
  return { elements, update, complain, trials, live: running };
}

function facts(one) {
  const list = [
    ["Model", one.model],
    ["Card", one.gpu],
    ["Workload", one.workload],
    ["Objective", (one.objective ?? []).join(", ")],
    ["Limits", (one.slo ?? []).join(", ") || "none"],
    ["Begun", when(one.created_at)],
  ];
  return h(
    "dl",
    { class: "facts" },
    list.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
  );
}

function tellVerdict(panel, one) {
  const found = one.verdict;
  const seen = JSON.stringify([found, one.state]);
  if (panel.seen === seen) return;
  panel.seen = seen;
  if (!found) {
    const why = isActive(one.state) ? "There is none before the first trial has ended." : "This study has none.";
    put(panel, h("h2", {}, "Verdict"), h("p", { class: "quiet" }, why));
    return;
  }
  const title = isActive(one.state) ? "Verdict so far: " : "Verdict: ";
  const gain = provenGain(found);
  const trial = recommendedTrial(one);
  const about = trial === null ? null : h("span", { class: "quiet" }, `trial ${trial} over vLLM's defaults`);
  const shown = gain === null ? null : h("p", {}, h("span", { class: "figure large" }, percent(gain)), " ", about);
  put(panel, h("h2", {}, title, capital(found.answer)), shown, h("p", {}, found.sentence));
}

function reportPanel(one) {
  return h(
    "section",
    { class: "panel", "aria-labelledby": "report-title" },
    h("h2", { id: "report-title" }, "Report"),
    h("p", { class: "quiet" }, "Verdict, before and after, progress and how it was measured, in one file."),
    h("p", {}, h("a", { href: `${studyLink(one.name)}/report` }, "Open the report")),
  );
}

function filesPanel(one, names, complain) {
  const link = (format) => {
    const path = `${studyPath(one.name)}/export?format=${encodeURIComponent(format)}`;
    const onclick = async (event) => {
      event.preventDefault();
      try {
        complain("");
        say(`Saved as ${await download(path, `${one.name}.${format}`)}.`);
      } catch (error) {
        complain(error.message);
      }
    };
    return h("li", {}, h("a", { href: hasToken() ? "#" : url(path), download: "", onclick }, format));
  };
  return h(
    "section",
    { class: "panel", "aria-labelledby": "files-title" },
    h("h2", { id: "files-title" }, "Launch config"),
    h("p", { class: "quiet" }, "What this study recommends, as a file for:"),
    names.length
      ? h(
          "ul",
          { class: "files", "aria-label": "Formats" },
          names.map((one) => link(one.name ?? one)),
        )
      : state("The service names no format."),
  );
}
