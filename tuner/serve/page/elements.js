// What a view is made of: elements from a tag, attributes and children. Text goes in as text, whatever it looks like; nothing
// here, and nothing in the other files, reads markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Replaces what an element holds; without a change of its text it is left alone, so that no reader says it again. */
export function put(element, ...children) {
  const fresh = document.createDocumentFragment();
  add(fresh, children);
  if (fresh.childNodes.length === 1 && fresh.firstChild.nodeType === Node.TEXT_NODE && !element.children.length) {
    if (element.textContent === fresh.textContent) return;
  }
  element.replaceChildren(fresh);
}

/** Children in the order of `items`, one for each key: old ones stay the same elements, and the focus stays where it is. */
export function keyed(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const active = document.activeElement;
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let element = old.get(key);
    if (element) old.delete(key);
    else {
      element = make(item);
      element.dataset.key = key;
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of old.values()) gone.remove();
  if (active !== document.activeElement && active?.isConnected) active.focus({ preventScroll: true });
}

/** One sentence, politely, to who listens instead of looking. */
export function say(sentence) {
  const said = document.getElementById("said");
  if (said.textContent !== sentence) said.textContent = sentence;
}

/** A sentence in place of content, with what to do. */
export function state(sentence, ...more) {
  return h("div", { class: "state" }, h("p", {}, sentence), more);
}

export const badge = (word, kind) => h("span", { class: `badge ${kind || ""}` }, word);

/** The word of what was not measured, as loud as it has to be; nothing for what was. */
export function unreal(word) {
  return word ? h("span", { class: "badge unreal" }, word) : null;
}

export function unrealBanner(word) {
  if (!word) return null;
  const told =
    word === "SIMULATED"
      ? "No GPU and no vLLM has run: the numbers are those of tuner's model of them."
      : "Nothing was launched: the numbers are those of earlier measurements.";
  return h("p", { class: "banner unreal", role: "note" }, h("strong", {}, word), " ", told);
}
