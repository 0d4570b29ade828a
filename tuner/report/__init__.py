"""A study in, a report that is read, printed and kept out: one HTML file, Markdown for a pull request, JSON for a machine."""
