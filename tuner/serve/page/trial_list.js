// The trials of a study in, by number, page for page; kept while the page is open, so that back and forward show them at once.

import { call, studyPath } from "./api.js";

const PAGE = 200;
const kept = new Map();

export function trialsOf(name) {
  if (!kept.has(name)) kept.set(name, { trials: new Map(), next: null, chosen: new Set() });
  const own = kept.get(name);
  const path = `${studyPath(name)}/trials?limit=${PAGE}`;

  async function load(signal) {
    const pages = Math.max(1, Math.ceil(own.trials.size / PAGE));
    const fresh = new Map();
    let next = null;
    for (let at = 0; at < pages; at += 1) {
      const page = await call(next === null ? path : `${path}&after=${encodeURIComponent(next)}`, { signal });
      for (const trial of page.trials) fresh.set(trial.trial, trial);
      next = page.next;
      if (next === null) break;
    }
    own.trials = fresh;
    own.next = next;
  }

  async function grow(signal) {
    const page = await call(`${path}&after=${encodeURIComponent(own.next)}`, { signal });
    for (const trial of page.trials) own.trials.set(trial.trial, trial);
    own.next = page.next;
  }

  /** Those with the numbers, as far as there are any. */
  async function find(numbers, signal) {
    await load(signal);
    while (own.next !== null && numbers.some((one) => !own.trials.has(one))) await grow(signal);
    return numbers.map((one) => own.trials.get(one)).filter(Boolean);
  }

  return {
    load,
    grow,
    find,
    put: (trial) => own.trials.set(trial.trial, trial),
    all: () => [...own.trials.values()],
    isWhole: () => own.next === null,
    chosen: own.chosen,
  };
}
