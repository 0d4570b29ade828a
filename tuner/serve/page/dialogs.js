// Questions that stop everything else: a token, a confirmation. Each answers with what was said, or null. The browser gives the
// focus back to where it was.

import { h } from "./elements.js";

function ask(title, body, buttons, { alert = false } = {}) {
  return new Promise((resolve) => {
    let answer = null;
    const give = (value) => {
      answer = value;
      dialog.close();
    };
    const heading = h("h2", { id: "dialog-title" }, title);
    const form = h(
      "form",
      {
        method: "dialog",
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          give(buttons.main());
        },
      },
      heading,
      body,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: () => give(null) }, buttons.back),
        h("button", { type: "submit", class: buttons.kind ?? "primary" }, buttons.go),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", role: alert ? "alertdialog" : null }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export const confirmed = async (title, sentence, go, kind = "primary") =>
  (await ask(title, h("p", {}, sentence), { go, back: "Go back", kind, main: () => true }, { alert: true })) === true;

export function askToken(wasWrong) {
  const field = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    autofocus: true,
    "aria-describedby": "token-about",
    "aria-invalid": wasWrong ? "true" : null,
  });
  const about = wasWrong
    ? "That token was refused: look at the file that --token-file names."
    : "It is in the file that --token-file of tuner serve names.";
  const body = [
    h("label", { for: "token" }, "Token"),
    field,
    h("p", { id: "token-about", class: wasWrong ? "wrong" : "quiet" }, about, " It is kept until this tab is closed."),
  ];
  return ask("This service needs a token", body, {
    go: "Sign in",
    back: "Not now",
    main: () => field.value.trim() || null,
  });
}
