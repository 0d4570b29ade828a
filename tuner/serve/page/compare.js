// Two or more trials side by side: settings, then metrics. What differs has a sign and a word, not only a colour.

import { call, studyPath } from "./api.js";
import { h, put, state, unrealBanner } from "./elements.js";
import { studyLink } from "./studies.js";
import { trialsOf } from "./trial_list.js";
import { capital, metric, percent, setting, withUnit } from "./words.js";

export async function compare({ root, signal, heading }, name, list) {
  const numbers = [...new Set(list.split(",").map(Number))];
  const [study, trials] = await Promise.all([call(studyPath(name), { signal }), trialsOf(name).find(numbers, signal)]);
  const crumbs = h(
    "p",
    { class: "crumbs" },
    h("a", { href: "#/" }, "Studies"),
    " / ",
    h("a", { href: studyLink(name) }, name),
  );
  const title = heading(`Trials ${numbers.join(", ")} of ${name}`);
  const missing = numbers.filter((one) => !trials.some((trial) => trial.trial === one));
  if (trials.length < 2) {
    put(
      root,
      crumbs,
      title,
      state("There are not two such trials.", h("a", { href: studyLink(name) }, "Choose others")),
    );
    return;
  }
  const only = h("input", {
    type: "checkbox",
    onchange: () => table.classList.toggle("only-differences", only.checked),
  });
  const table = h("table", { class: "compare", "aria-label": "Comparison" }, headRow(trials), sections(trials));
  put(
    root,
    crumbs,
    title,
    unrealBanner(study.unreal),
    missing.length ? h("p", { class: "wrong" }, `There is no trial ${missing.join(", ")}.`) : null,
    h("p", {}, h("label", { class: "box" }, only, " Only what differs")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Comparison, scrolls sideways" }, table),
    h("p", { class: "quiet" }, "≠ differs. ▲ is the best of these, as far as they were measured."),
  );
}

function headRow(trials) {
  const name = (one) => `Trial ${one.trial}`;
  return h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("td", {}),
      trials.map((one) =>
        h("th", { scope: "col" }, name(one), one.is_default ? h("span", { class: "quiet" }, " defaults") : null),
      ),
    ),
  );
}

function sections(trials) {
  const settings = names(trials, (one) => one.settings);
  const metrics = names(trials, (one) => one.metrics);
  const status = line(
    "Status",
    trials.map((one) => [
      h("span", {}, capital(one.failure ? "failed" : (one.status ?? one.state))),
      one.failure ? h("p", { class: "wrong" }, one.failure.message) : null,
    ]),
    differ(trials.map((one) => (one.failure ? one.failure.message : (one.status ?? one.state)))),
  );
  return [
    group("Outcome", trials, [status]),
    group(
      "Settings",
      trials,
      settings.map((name) => settingLine(name, trials)),
    ),
    group(
      "Metrics",
      trials,
      metrics.map((name) => metricLine(name, trials)),
    ),
  ];
}

const names = (trials, of) => [...new Set(trials.flatMap((one) => Object.keys(of(one) ?? {})))];
const differ = (values) => values.some((value) => JSON.stringify(value) !== JSON.stringify(values[0]));

function group(title, trials, lines) {
  const none = h("tr", {}, h("td", { colspan: trials.length + 1, class: "quiet" }, "None."));
  return h(
    "tbody",
    {},
    h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: trials.length + 1 }, title)),
    lines.length ? lines : none,
  );
}

function line(label, cells, isDifferent, kind = "") {
  const sign = isDifferent
    ? h(
        "span",
        { class: "sign" },
        h("span", { "aria-hidden": "true" }, "≠ "),
        h("span", { class: "unseen" }, "differs: "),
      )
    : null;
  return h(
    "tr",
    { class: isDifferent ? "differs" : "same" },
    h("th", { scope: "row" }, sign, label),
    cells.map((cell) => h("td", { class: kind }, cell)),
  );
}

function settingLine(name, trials) {
  const values = trials.map((one) => one.settings?.[name]);
  const cells = values.map((value) =>
    value === undefined ? h("span", { class: "quiet" }, "default") : h("code", {}, setting(value)),
  );
  return line(h("code", {}, name), cells, differ(values));
}

function metricLine(name, trials) {
  const values = trials.map((one) => one.metrics?.[name] ?? null);
  const { label, better } = metric(name);
  const known = values.filter((value) => typeof value === "number");
  const best =
    better && known.length > 1 && differ(known) ? (better > 0 ? Math.max(...known) : Math.min(...known)) : null;
  const base = typeof values[0] === "number" && values[0] !== 0 ? values[0] : null;
  const cells = values.map((value, at) => [
    value === best && best !== null
      ? h(
          "span",
          { class: "best" },
          h("span", { "aria-hidden": "true" }, "▲ "),
          h("span", { class: "unseen" }, "best: "),
        )
      : null,
    withUnit(name, value),
    at && base && better && typeof value === "number" && value !== base
      ? h("span", { class: "quiet" }, ` ${percent(value / base - 1)}`)
      : null,
  ]);
  return line(label, cells, differ(values), "number");
}
