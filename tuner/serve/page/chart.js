// Values as they come in; a line of the last minutes out, with where each trial began. Drawn at most once a frame, and only
// while it can be seen; its place is there from the start.

import { h, put, s } from "./elements.js";
import { metric, number, withUnit } from "./words.js";

const HEIGHT = 180;
const LEFT = 56;
const BOTTOM = 20;
const TOP = 16;
const KEPT = 900;

/** `add(value, trial)`. */
export function chart(name) {
  const points = [];
  let due = false;
  const plot = s("svg", { height: HEIGHT, role: "img", focusable: "false" });
  const empty = h("p", { class: "quiet" }, "Nothing is measured at the moment.");
  const element = h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, `${metric(name).label}, ${metric(name).unit}`),
    plot,
    empty,
  );
  tell();

  function add(value, trial) {
    const last = points.at(-1);
    points.push({ value, trial });
    if (points.length > KEPT) points.shift();
    if (!last || last.trial !== trial) tell();
    if (!due) {
      due = true;
      requestAnimationFrame(draw);
    }
  }

  /** Said for each trial, not for each number. */
  function tell() {
    const last = points.at(-1);
    const now = last ? `trial ${last.trial}, ${withUnit(name, last.value)}` : "no value yet";
    plot.setAttribute("aria-label", `${metric(name).label} over time: ${now}`);
  }

  function draw() {
    due = false;
    const width = element.clientWidth || 600;
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.setAttribute("width", width);
    empty.hidden = points.length > 0;
    const top = ceiling(Math.max(0, ...points.map((point) => point.value)));
    const x = (at) => LEFT + ((width - LEFT - 8) * at) / Math.max(points.length - 1, 9);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    put(plot, grid(name, top, width, y), trials(points, x), line(points, x, y));
  }

  new ResizeObserver(() => points.length && draw()).observe(element);
  return { element, add };
}

function grid(name, top, width, y) {
  return [0, top / 2, top].map((value) => [
    s("line", { class: "grid", x1: LEFT, x2: width - 8, y1: y(value), y2: y(value) }),
    s(
      "text",
      { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" },
      number(value * metric(name).factor, top < 10 ? 1 : 0),
    ),
  ]);
}

function trials(points, x) {
  const begun = points.flatMap((point, at) =>
    at === 0 || points[at - 1].trial !== point.trial ? [[point.trial, x(at)]] : [],
  );
  return begun.map(([trial, at], order) => [
    order ? s("line", { class: "begin", x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }) : null,
    trial === null || trial === undefined
      ? null
      : s("text", { class: "tick", x: at + 3, y: HEIGHT - 5 }, `trial ${trial}`),
  ]);
}

function line(points, x, y) {
  const path = points.map((point, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(point.value).toFixed(1)}`);
  const last = points.length - 1;
  const dot = last < 0 ? null : s("circle", { class: "now", cx: x(last), cy: y(points[last].value), r: 3.5 });
  return [s("path", { class: "line", d: path.join("") }), dot];
}

/** The next round number: 1, 2 or 5 times a power of ten. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => value <= step * power);
}
