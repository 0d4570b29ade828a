// A path of server-sent events in; each event with its name, data and id out, for as long as the signal lasts. It reads the
// stream with fetch, for EventSource can send no token. What breaks is begun again after a growing wait, from the last event.

import { ApiError, refusal, request } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** A stream that says nothing for so long, not even that it is alive, is broken. */
const SILENCE_MS = 60_000;

/** `onEvent(name, data)`; `onLink("live" | "lost", error)`. Ends with the signal, or throws what another try would not mend. */
export async function follow(path, signal, onEvent, onLink) {
  const place = { id: null, wait: FIRST_WAIT_MS };
  while (!signal.aborted) {
    let told = new ApiError(0, "The service ended the connection.");
    try {
      await once(path, signal, place, onEvent, onLink);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      told = error;
    }
    if (signal.aborted) return;
    onLink("lost", told);
    await pause(place.wait * (0.75 + Math.random() / 2), signal);
    place.wait = Math.min(place.wait * 2, LONGEST_WAIT_MS);
  }
}

async function once(path, signal, place, onEvent, onLink) {
  const own = new AbortController();
  const stop = () => own.abort();
  signal.addEventListener("abort", stop);
  let silence = setTimeout(stop, SILENCE_MS);
  try {
    const headers = { Accept: "text/event-stream" };
    if (place.id !== null) headers["Last-Event-ID"] = place.id;
    const response = await request(path, { signal: own.signal, headers });
    if (!response.ok) throw await refusal(response);
    onLink("live", null);
    const read = parser(place, onEvent);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS);
      read(value);
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
  }
}

/** Takes text as it comes, in whatever pieces, by the rules of the HTML standard. */
export function parser(place, onEvent) {
  let rest = "";
  let name = "";
  let data = [];
  const field = (line) => {
    if (line === "") {
      if (data.length) onEvent(name || "message", data.join("\n"));
      if (data.length) place.wait = FIRST_WAIT_MS;
      name = "";
      data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const key = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (key === "event") name = value;
    else if (key === "data") data.push(value);
    else if (key === "id" && !value.includes("\0")) place.id = value;
    else if (key === "retry" && /^\d+$/.test(value)) place.wait = Math.min(Number(value), LONGEST_WAIT_MS);
  };
  return (text) => {
    rest += text;
    const held = rest.endsWith("\r") ? "\r" : ""; // its \n may be in the next piece
    const lines = rest.slice(0, rest.length - held.length).split(/\r\n|\r|\n/);
    rest = lines.pop() + held;
    for (const line of lines) field(line);
  };
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    addEventListener("online", done);
  });
}
