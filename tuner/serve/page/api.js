// A path below /api/v1 in, its JSON out, or an ApiError with the server's own sentence. The token, where the service asks for
// one, is in this tab's session storage and goes nowhere but into the Authorization header.

const ROOT = "/api/v1";
const KEPT = "tuner-token";
let asker = null;
let asking = null;
let reached = () => {};

export class ApiError extends Error {
  /** `status` is 0 where nobody answered; `field` is the field that the server names, if it does. */
  constructor(status, sentence, field = null) {
    super(sentence);
    this.status = status;
    this.field = field;
  }
}

/** `ask(wasWrong)` answers with a token or null; `onReach(answered)` is told after every request. */
export function prepare(ask, onReach) {
  asker = ask;
  reached = onReach;
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;
export const url = (path) => ROOT + path;
export const studyPath = (name) => `/studies/${encodeURIComponent(name)}`;

/** The response, whatever its status but 401: then a token is asked for, and the request sent again. */
export async function request(path, { method = "GET", body, signal, headers = {} } = {}) {
  for (let again = 0; ; again += 1) {
    const used = sessionStorage.getItem(KEPT);
    const sent = { ...headers };
    if (used !== null) sent.Authorization = `Bearer ${used}`;
    if (method !== "GET") Object.assign(sent, { "X-Tuner": "1", "Content-Type": "application/json" });
    const told = method === "GET" ? undefined : JSON.stringify(body ?? {});
    let response;
    try {
      response = await fetch(url(path), {
        method,
        headers: sent,
        body: told,
        signal,
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      reached(false);
      throw new ApiError(0, "The service does not answer.");
    }
    reached(true);
    if (response.status !== 401) return response;
    if (!(await token(used))) throw new ApiError(401, "This service needs a token, and none was given.");
    if (again > 20) throw new ApiError(401, "The token was refused.");
  }
}

export async function call(path, options = {}) {
  const response = await request(path, options);
  if (!response.ok) throw await refusal(response);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(response.status, "The service answered with what is no JSON.");
  }
}

export async function refusal(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    // the sentence below is all there is to say
  }
  const sentence = typeof told?.error === "string" ? told.error : `The service answered HTTP ${response.status}.`;
  return new ApiError(response.status, sentence, typeof told?.field === "string" ? told.field : null);
}

/** A text to keep as a file, under the name that the server gives it. */
export async function download(path, fallback) {
  const response = await request(path);
  if (!response.ok) throw await refusal(response);
  const named = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = named ? named[1] : fallback;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

/** One question at a time, however many requests were refused; none where another request has had its answer meanwhile. */
async function token(used) {
  if (sessionStorage.getItem(KEPT) !== used) return true;
  asking ??= asker(used !== null).finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given === null) return false;
  sessionStorage.setItem(KEPT, given);
  return true;
}
