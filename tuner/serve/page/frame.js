// The text of a report in, by one message of the page around; the report in its place out. It is in a sandbox: it has no
// origin, no token and no network, whatever is in the report.

addEventListener("message", function show(event) {
  if (event.source !== parent || typeof event.data !== "string") return;
  removeEventListener("message", show);
  document.open();
  document.write(event.data);
  document.close();
});
