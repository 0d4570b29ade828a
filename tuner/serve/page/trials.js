// The trials of a study as a table: sorted by any column, failed ones with their reason, settings only where they differ from
// vLLM's defaults, and a choice of those that are compared. A row stays the same element for as long as its trial is there.

import { badge, h, keyed, put, say } from "./elements.js";
import { studyLink } from "./studies.js";
import { trialsOf } from "./trial_list.js";
import { capital, head, isActive, metric, objectiveMetric, plain, recommendedTrial, setting } from "./words.js";

const ALWAYS = ["output_throughput", "ttft_p99_s", "tpot_p99_s", "gpu_utilization"];

export function trialTable(study) {
  const { chosen } = trialsOf(study.name);
  const metrics = [...new Set([...(study.objective ?? []).map(objectiveMetric), ...ALWAYS])];
  const columns = [
    { key: "trial", label: "Trial", of: (one) => one.trial },
    { key: "status", label: "Status", of: (one) => one.status ?? one.state },
    ...metrics.map((name) => ({
      key: name,
      label: head(name)[0],
      unit: head(name)[1],
      number: true,
      of: (one) => one.metrics?.[name],
    })),
    { key: "settings", label: "Settings that differ from vLLM's defaults" },
  ];
  let sort = { key: "trial", down: false };
  let drawn = { trials: [], study };
  const body = h("tbody", { role: "rowgroup" });
  const bar = choiceBar(chosen, study.name, () => redraw());
  const heads = columns.map((column) => header(column, () => sortBy(column)));
  const picker = sortPicker(columns, (key, down) => set({ key, down }));
  const more = h("button", { type: "button" }, "Show more trials");
  const none = h("p", { class: "quiet" }, "No trial has begun yet.");
  const table = h(
    "table",
    { class: "cards trials", role: "table", "aria-labelledby": "trials-title" },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        h("th", { scope: "col", role: "columnheader" }, h("span", { class: "unseen" }, "Compare")),
        heads.map((one) => one.element),
      ),
    ),
    body,
  );
  const element = h(
    "section",
    { "aria-labelledby": "trials-title", class: "trials-section" },
    h("div", { class: "title" }, h("h2", { id: "trials-title" }, "Trials"), picker.element, bar.element),
    none,
    table,
    more,
  );

  function sortBy(column) {
    const best = column.number && metric(column.key).better !== -1;
    set(sort.key === column.key ? { key: sort.key, down: !sort.down } : { key: column.key, down: Boolean(best) });
    say(`Sorted by ${column.label}, ${sort.down ? "the highest" : "the lowest"} first.`);
  }

  function set(order) {
    sort = order;
    picker.show(sort);
    redraw();
  }

  function redraw() {
    for (const one of heads) one.show(sort);
    const column = columns.find((one) => one.key === sort.key);
    const rows = [...drawn.trials].sort(
      (one, other) => compared(column.of(one), column.of(other), sort.down) || one.trial - other.trial,
    );
    table.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
    keyed(
      body,
      rows,
      (one) => one.trial,
      () => newRow(chosen, bar.update),
      (row, one) => fill(row, one, drawn.study, columns, chosen),
    );
    bar.update();
  }

  function update(trials, now, isWhole) {
    drawn = { trials, study: now };
    more.hidden = isWhole;
    redraw();
  }
  return { element, update, onMore: (grow) => more.addEventListener("click", grow) };
}

/** What is not known comes last, whichever way it is sorted. */
function compared(one, other, down) {
  const [missing, missingToo] = [one ?? null, other ?? null].map((value) => value === null);
  if (missing || missingToo) return missing - missingToo;
  const order =
    typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
  return down ? -order : order;
}

function header(column, onclick) {
  const words = [column.label, column.unit ? h("span", { class: "unit" }, ` ${column.unit}`) : null];
  if (!column.of)
    return { element: h("th", { scope: "col", role: "columnheader", class: "wide" }, words), show: () => {} };
  const arrow = h("span", { class: "arrow", "aria-hidden": "true" });
  const element = h(
    "th",
    { scope: "col", role: "columnheader", class: column.number ? "number" : "" },
    h("button", { type: "button", class: "sort", onclick }, words, arrow),
  );
  const show = (sort) => {
    const mine = sort.key === column.key;
    if (mine) element.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else element.removeAttribute("aria-sort");
    put(arrow, mine ? (sort.down ? "↓" : "↑") : "");
  };
  return { element, show };
}

/** Where the table is cards, its heads are not there to be clicked. */
function sortPicker(columns, set) {
  const options = columns
    .filter((one) => one.of)
    .flatMap((one) => [
      h("option", { value: `${one.key} up` }, `${one.label}, lowest first`),
      h("option", { value: `${one.key} down` }, `${one.label}, highest first`),
    ]);
  const select = h("select", { id: "sort-by", onchange: () => set(...order(select.value)) }, options);
  const order = (value) => [value.split(" ")[0], value.endsWith(" down")];
  return {
    element: h("span", { class: "narrow" }, h("label", { for: "sort-by" }, "Sort by "), select),
    show: (sort) => (select.value = `${sort.key} ${sort.down ? "down" : "up"}`),
  };
}

function choiceBar(chosen, name, redraw) {
  const link = h("a", { class: "button" });
  const clear = h(
    "button",
    {
      type: "button",
      onclick: () => {
        chosen.clear();
        redraw();
        link.focus();
      },
    },
    "Clear",
  );
  const update = () => {
    const enough = chosen.size > 1;
    put(link, enough ? `Compare ${chosen.size} trials` : "Compare: choose two or more");
    if (enough) link.href = `${studyLink(name)}/compare/${[...chosen].sort((a, b) => a - b).join(",")}`;
    else link.removeAttribute("href");
    link.setAttribute("aria-disabled", String(!enough));
    link.setAttribute("role", "link");
    link.tabIndex = 0;
    clear.hidden = chosen.size === 0;
  };
  return { element: h("span", { class: "buttons" }, link, clear), update };
}

function newRow(chosen, onChange) {
  const box = h("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(box.trial);
    else chosen.delete(box.trial);
    onChange();
  });
  const row = h(
    "tr",
    { role: "row" },
    h("td", { role: "cell", class: "choose" }, h("label", {}, box, h("span", { class: "narrow" }, " Compare"))),
  );
  row.box = box;
  return row;
}

function fill(row, one, study, columns, chosen) {
  row.box.checked = chosen.has(one.trial);
  const recommended = !isActive(study.state) && recommendedTrial(study) === one.trial;
  const unverified = recommended && study.verdict.answer === "not verified";
  const best = study.best?.trial === one.trial;
  const seen = JSON.stringify([one, recommended, unverified, best]);
  if (row.seen === seen) return;
  row.seen = seen;
  row.box.trial = one.trial;
  row.box.setAttribute("aria-label", `Compare trial ${one.trial}`);
  row.classList.toggle("failed", Boolean(one.failure));
  row.classList.toggle("chosen-by-study", recommended);
  const cells = columns.slice(2).map((column) =>
    h(
      "td",
      {
        role: "cell",
        class: column.number ? "number" : "wide",
        "data-label": column.of ? `${column.label} ${column.unit ?? ""}` : "Settings",
      },
      h("div", {}, column.of ? plain(column.key, column.of(one)) : settings(one)),
    ),
  );
  row.replaceChildren(
    row.firstElementChild,
    h("th", { scope: "row", role: "rowheader", "data-label": "Trial" }, h("div", {}, String(one.trial))),
    h("td", { role: "cell", "data-label": "Status" }, h("div", {}, status(one, recommended, unverified, best))),
    ...cells,
  );
}

function status(one, recommended, unverified, best) {
  const word = one.failure ? "failed" : recommended ? "recommended" : outcome(one);
  const bad = one.failure || word.startsWith("misses");
  const kind = bad ? "failed" : recommended ? "finished" : one.state === "running" ? "running" : "";
  const more = [
    one.is_default ? "Defaults" : null,
    unverified ? "Not verified" : null,
    best && !recommended ? "Best so far" : null,
  ].filter(Boolean);
  return [badge(capital(word), kind), more.map((told) => [" ", badge(told)])];
}

/** Without the marks, which stand beside the settings. */
function outcome(one) {
  const told = one.status || one.state;
  return (
    told
      .split(", ")
      .filter((word) => !one.marks?.includes(word))
      .join(", ") || told
  );
}

function settings(one) {
  const own = Object.entries(one.settings ?? {});
  return [
    own.length
      ? h(
          "ul",
          { class: "settings" },
          own.map(([name, value]) => h("li", {}, h("code", {}, `${name}=${setting(value)}`))),
        )
      : h("span", { class: "quiet" }, one.is_default ? "vLLM's defaults" : "none"),
    one.failure ? reason(one.failure) : null,
    one.marks?.length ? h("p", { class: "quiet" }, `Marks: ${one.marks.join(", ")}`) : null,
  ];
}

function reason(failure) {
  const message = String(failure.message ?? "");
  const kind = capital(String(failure.kind ?? "failed").replaceAll("_", " "));
  if (message.length < 160) return h("p", { class: "wrong" }, `${kind}: ${message}`);
  return h("details", { class: "wrong" }, h("summary", {}, `${kind}: ${message.slice(0, 120)}…`), h("p", {}, message));
}
