"""Style sheet of the report: light, one column, tables that line up, and a page that prints."""

CSS = """\
:root { --ink: #1b1f24; --soft: #5c6670; --line: #d9dee3; --accent: #0072b2; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 2rem auto; padding: 2.5rem 3rem; background: var(--paper);
  border: 1px solid var(--line); }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 0.7rem; padding-bottom: 0.25rem; border-bottom: 2px solid var(--accent); font-size: 1.15rem; }
header p { margin: 0.3rem 0 0.8rem; color: var(--soft); }
pre { margin: 0.8rem 0; padding: 0.6rem 0.9rem; background: #f4f6f8; font-size: 0.8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.6rem; margin-top: 1rem; }
.tiles div { flex: 1 1 8rem; padding: 0.6rem 0.9rem; border: 1px solid var(--line); color: var(--soft);
  font-size: 0.8rem; }
.tiles b { display: block; color: var(--ink); font-size: 1.3rem; font-variant-numeric: tabular-nums; }
table { width: 100%; margin: 0 0 1rem; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.32rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  overflow-wrap: anywhere; min-width: 3.6rem; }
th { color: var(--soft); font-size: 0.8rem; font-weight: 600; overflow-wrap: normal; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
thead th:empty { padding: 0; border: 0; }
figure { margin: 0.5rem 0 1rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: 0.4rem; color: var(--soft); font-size: 0.85rem; }
summary { padding: 0.3rem 0; color: var(--accent); cursor: pointer; }
@media (max-width: 40rem) {
  main { margin: 0; padding: 1rem; border: 0; font-size: 13px; }
  th, td { padding: 0.25rem 0.3rem; }
}
@media print {
  body { background: none; font-size: 11px; }
  main { max-width: none; margin: 0; padding: 0; border: 0; }
  figure, table, .tiles { break-inside: avoid; }
  img { max-height: 95vh; object-fit: contain; }
  h2 { break-after: avoid; }
  details:not([open]) { display: none; }
}
"""
