// The report of a study, in a frame of its own that can reach nobody: it is fetched here, with the token where there is one,
// and handed over as text.

import { call, download, hasToken, refusal, request, studyPath, url } from "./api.js";
import { h, put, say, state, unrealBanner } from "./elements.js";
import { studyLink } from "./studies.js";

export async function report({ root, signal, heading }, name) {
  const path = `${studyPath(name)}/report?format=`;
  const problem = h("p", { class: "wrong", role: "alert" });
  const crumbs = h(
    "p",
    { class: "crumbs" },
    h("a", { href: "#/" }, "Studies"),
    " / ",
    h("a", { href: studyLink(name) }, name),
  );
  const study = await call(studyPath(name), { signal });
  const place = h("div", { class: "report" }, state("Loading the report…"));
  const tab = hasToken()
    ? null
    : h("a", { href: url(`${path}html`), target: "_blank", rel: "noopener" }, "Open in a tab");
  const files = ["html", "markdown", "json"].map((format) =>
    h(
      "button",
      { type: "button", onclick: () => save(format) },
      `Save as ${{ html: "HTML", markdown: "Markdown", json: "JSON" }[format]}`,
    ),
  );
  put(
    root,
    crumbs,
    h("div", { class: "title" }, heading(`Report of ${name}`), h("div", { class: "buttons" }, tab, files)),
    unrealBanner(study.unreal),
    problem,
    place,
  );
  const response = await request(`${path}html`, { signal });
  if (!response.ok) {
    const refused = await refusal(response);
    put(place, state(refused.message, h("a", { href: studyLink(name) }, "Back to the study")));
    return;
  }
  const text = await response.text();
  const frame = h("iframe", { src: "/page/frame.html", sandbox: "allow-scripts", title: `Report of ${name}` });
  frame.addEventListener("load", () => frame.contentWindow?.postMessage(text, "*"), { once: true });
  put(place, frame);

  async function save(format) {
    try {
      put(problem, "");
      say(
        `Saved as ${await download(`${path}${format}`, `${name}.${{ html: "html", markdown: "md", json: "json" }[format]}`)}.`,
      );
    } catch (error) {
      put(problem, error.message);
    }
  }
}
