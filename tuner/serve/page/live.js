// What runs at the moment: phase, trial, throughput, GPU, best so far, and notes. Phases are said to who listens; numbers,
// which change all the time, are only shown.

import { chart } from "./chart.js";
import { h, put, say } from "./elements.js";
import { capital, isActive, number, stateWord, withUnit } from "./words.js";

const NOTES = 50;
const CHARTED = "output_throughput";

export function live(first) {
  const words = h("span");
  const past = h("span", { class: "quiet" });
  const phase = h("p", { class: "phase" }, words, " ", past);
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Trials finished" });
  const figures = {
    output_throughput: figure("Throughput"),
    gpu_utilization: figure("GPU"),
    best: figure("Best so far"),
    trials: figure("Trials finished"),
  };
  const graph = chart(CHARTED);
  const link = h("p", { class: "quiet link" }, "");
  const notes = h("ol", { class: "notes", "aria-label": "Notes", tabindex: "0" });
  const folded = h("details", {}, h("summary", {}, "Notes"), notes);
  folded.hidden = true;
  const element = h(
    "section",
    { class: "panel live", "aria-labelledby": "live-title" },
    h("h2", { id: "live-title" }, "Now"),
    phase,
    bar,
    h(
      "dl",
      { class: "figures" },
      Object.values(figures).map((one) => one.element),
    ),
    graph.element,
    link,
    folded,
  );
  const seen = new Set();
  let saidPhase = "";

  function update(study) {
    element.hidden = !isActive(study.state);
    bar.max = study.trials_wanted || 1;
    bar.value = study.trials_finished;
    figures.trials.set(`${study.trials_finished} of ${study.trials_wanted ?? "?"}`);
    figures.best.set(study.best ? withUnit(study.best.metric, study.best.value) : "–");
    if (study.state !== "running") {
      put(past, "");
      put(words, study.state === "queued" ? "Waits for its card." : `${stateWord(study.state)}.`);
      saidPhase = "";
    } else if (!saidPhase) put(words, "Begins.");
  }

  function state(data) {
    const trial =
      typeof data.trial === "number" ? `Trial ${data.trial}${typeof data.of === "number" ? ` of ${data.of}` : ""}` : "";
    const told = [trial, data.phase ? (trial ? String(data.phase) : capital(String(data.phase))) : ""]
      .filter(Boolean)
      .join(": ");
    if (told) put(words, told);
    const kind = told.replace(/^Trial \d+/, (trial) => trial.replace(" ", "-")).replace(/(?<![-\d])\d[\d,.]*/g, "#");
    if (told && kind !== saidPhase) {
      saidPhase = kind;
      say(told);
    }
    put(past, elapsed(data));
    for (const name of ["output_throughput", "gpu_utilization"]) figures[name].set(withUnit(name, data[name]));
    if (typeof data[CHARTED] !== "number") return;
    seen.add(data.trial);
    graph.add(data[CHARTED], data.trial);
  }

  /** A trial that ended faster than anybody could watch it is in the graph by what was measured. */
  function trial(one) {
    const value = one.metrics?.[CHARTED];
    if (typeof value !== "number" || seen.has(one.trial)) return;
    seen.add(one.trial);
    graph.add(value, one.trial);
  }

  function note(text) {
    notes.prepend(h("li", {}, text));
    while (notes.children.length > NOTES) notes.lastElementChild.remove();
    folded.hidden = false;
  }

  const setLink = (now) =>
    put(link, now === "lost" ? "The connection is lost: the numbers are old. It is tried again." : "");
  update(first);
  return { element, update, state, trial, note, link: setLink };
}

function figure(label) {
  const value = h("dd", { class: "figure" }, "–");
  return { element: h("div", {}, h("dt", {}, label), value), set: (text) => put(value, text) };
}

/** How long the phase lasts by now, and at most, as far as that is known. */
function elapsed({ past_s: past, most_s: most }) {
  if (typeof past !== "number") return "";
  return typeof most === "number" ? `${number(past, 0)} of at most ${number(most, 0)} s` : `${number(past, 0)} s`;
}
