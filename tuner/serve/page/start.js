// A form of what a request may name, as the service says it, in; a study that is queued out. What the service does not allow is
// told at the field, in its own words.

import { call } from "./api.js";
import { h, put, say, state } from "./elements.js";
import { studyLink } from "./studies.js";

const ABOUT = {
  model: "The model that is served.",
  gpu: "The card whose search space is used.",
  engine: "The simulated engine launches nothing: whatever comes of it says SIMULATED.",
  workload: "What the users do.",
  trials: "How many settings are launched at most.",
  users: "How many at the same time; empty for the workload's own number.",
  objective: "What is made best; several are traded off.",
  slo: "Limits that must be met, one a line, such as ttft_p99=500ms.",
  sampler: "How the next settings are chosen.",
  verify: "How often the best is launched again beside vLLM's defaults, at most.",
  max_hours: "What would not end within them is not begun.",
  price: "Of all GPUs of the server, per hour; for the objective cost.",
  study: "Empty for a name made of engine, card, model and workload.",
};
const ENGINES = { vllm: "vLLM, on the card", sim: "simulated, without a card" };
const DIGITS = { inputmode: "decimal", autocomplete: "off" };
/** Objectives that few take. */
const RARE = /_(mean|p50|p90|p95)$/;
/** Fields that most leave as they are. */
const NUMBERS = ["trials", "users", "verify", "max_hours", "price"];
const MORE = ["users", "sampler", "verify", "max_hours", "price"];
/** What somebody has filled in, while this page is open. */
let draft = {};

export async function start({ root, signal, heading }) {
  const options = await call("/options", { signal });
  if (!options.models?.length || !options.gpus?.length) {
    put(
      root,
      heading("Start a study"),
      state("This service allows no model or no card: it was started without any. See `tuner serve --help`."),
    );
    return;
  }
  const fields = fieldsOf(options);
  const problem = h("p", { class: "wrong", id: "problem", role: "alert" });
  const go = h("button", { type: "submit", class: "primary" }, "Start the study");
  const form = h("form", { novalidate: true, class: "start", onsubmit: send, oninput: () => (draft = read(fields)) });
  put(
    form,
    fields.filter((field) => !MORE.includes(field.name)).map((field) => field.element),
    h(
      "details",
      {},
      h("summary", {}, "More"),
      fields.filter((field) => MORE.includes(field.name)).map((field) => field.element),
    ),
    problem,
    h("div", { class: "buttons" }, h("a", { class: "button", href: "#/" }, "Go back"), go),
  );
  put(root, h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Studies")), heading("Start a study"), form);
  for (const field of fields) if (draft[field.name] !== undefined) field.write(draft[field.name]);

  async function send(event) {
    event.preventDefault();
    for (const field of fields) field.complain("");
    put(problem, "");
    go.disabled = true;
    try {
      const made = await call("/studies", { method: "POST", body: asked(read(fields)), signal });
      draft = {};
      say(`Study ${made.name} is queued.`);
      location.hash = studyLink(made.name);
    } catch (error) {
      if (signal.aborted) return;
      const field = fields.find((one) => one.name === error.field) ?? blamed(fields, error);
      if (field) field.complain(error.message);
      else put(problem, error.message);
    } finally {
      go.disabled = false;
    }
  }
}

/** The field that a sentence is about: the one whose name it has first. A name that is taken is the study's. */
function blamed(fields, error) {
  if (error.status === 409) return fields.find((field) => field.name === "study");
  if (error.status !== 422 && error.status !== 400) return undefined;
  const place = (field) => {
    const found = new RegExp(`(?:^|[^\\w])(?:--)?${field.name}s?(?![\\w])`, "i").exec(error.message);
    return found ? found.index : Infinity;
  };
  const first = fields.reduce((one, other) => (place(other) < place(one) ? other : one));
  return place(first) === Infinity ? undefined : first;
}

const read = (fields) => Object.fromEntries(fields.map((field) => [field.name, field.read()]));

/** What is empty is not said: then the service's own default holds. What should be a number and is none is sent as it is, for
 *  the service to refuse. */
function asked(values) {
  const body = { ...values, slo: values.slo.split("\n") };
  for (const name of NUMBERS) {
    const told = values[name].trim();
    body[name] = /^-?\d+(\.\d+)?$/.test(told) ? Number(told) : told;
  }
  const trimmed = (value) => (typeof value === "string" ? value.trim() : value);
  const whole = (value) => (Array.isArray(value) ? value.map(trimmed).filter(Boolean) : trimmed(value));
  const said = Object.entries(body).map(([name, value]) => [name, whole(value)]);
  return Object.fromEntries(said.filter(([, value]) => value !== undefined && value !== "" && value.length !== 0));
}

function fieldsOf(options) {
  const objective = named(options.objectives ?? []);
  return [
    choice("model", "Model", options.models),
    choice("gpu", "Card", options.gpus),
    choice(
      "engine",
      "Engine",
      (options.engines ?? []).map((name) => ({ name, about: ENGINES[name] })),
    ),
    choice("workload", "Workload", options.workloads ?? []),
    text("trials", "Trials", DIGITS, "20"),
    objective.length ? boxes("objective", "Objective", objective) : null,
    lines("slo", "Limits"),
    text("study", "Name", { autocomplete: "off", spellcheck: "false" }),
    text("users", "Users", DIGITS),
    options.samplers?.length ? choice("sampler", "Sampler", options.samplers) : null,
    text("verify", "Launches to verify", DIGITS),
    text("max_hours", "Hours at most", DIGITS),
    text("price", "Price", DIGITS),
  ].filter(Boolean);
}

/** The service lists names, or records with a name and what is to be said of it. */
function named(list) {
  return list.map((one) => {
    if (typeof one === "string") return { name: one, label: one };
    const about = one.about ?? one.label ?? one.gpu;
    return { name: one.name, label: about && about !== one.name ? `${one.name} – ${about}` : one.name };
  });
}

function framed(name, label, control, reading) {
  const about = h("span", { class: "quiet", id: `about-${name}` }, ABOUT[name]);
  const wrong = h("span", { class: "wrong", id: `wrong-${name}` });
  control.setAttribute("aria-describedby", `about-${name} wrong-${name}`);
  const group = control.tagName === "FIELDSET";
  const element = h("div", { class: "field" }, group ? null : h("label", { for: name }, label), control, about, wrong);
  const complain = (sentence) => {
    put(wrong, sentence);
    if (!sentence) control.removeAttribute("aria-invalid");
    else {
      control.setAttribute("aria-invalid", "true");
      const folded = control.closest("details");
      if (folded) folded.open = true;
      (group ? control.querySelector("input") : control).focus();
    }
  };
  return { name, element, complain, ...reading };
}

const plainly = (control) => ({ read: () => control.value, write: (value) => (control.value = value) });

function choice(name, label, list) {
  const control = h(
    "select",
    { id: name, name },
    named(list).map((one) => h("option", { value: one.name }, one.label)),
  );
  const write = (value) => [...control.options].some((one) => one.value === value) && (control.value = value);
  return framed(name, label, control, { read: () => control.value, write });
}

function text(name, label, attributes, value = "") {
  const control = h("input", { id: name, name, type: "text", value, ...attributes });
  return framed(name, label, control, plainly(control));
}

function lines(name, label) {
  const control = h("textarea", { id: name, name, rows: "2", spellcheck: "false" });
  return framed(name, label, control, plainly(control));
}

function boxes(name, label, list) {
  const inputs = list.map((one, at) => h("input", { type: "checkbox", name, value: one.name, checked: at === 0 }));
  const labels = inputs.map((input, at) => h("label", { class: "box" }, input, " ", list[at].label));
  const shown = (rare) =>
    h(
      "div",
      { class: "boxes" },
      labels.filter((_, at) => RARE.test(list[at].name) === rare),
    );
  const rest = list.some((one) => RARE.test(one.name))
    ? h("details", {}, h("summary", {}, "Others"), shown(true))
    : null;
  const control = h("fieldset", { id: name }, h("legend", {}, label), shown(false), rest);
  const readAll = () => inputs.filter((input) => input.checked).map((input) => input.value);
  return framed(name, label, control, {
    read: readAll,
    write: (values) => inputs.forEach((input) => (input.checked = values.includes(input.value))),
  });
}
