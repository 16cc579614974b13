"use strict";
document.documentElement.classList.add("scripted");
// Tables sort by the column whose head is pressed: numbers by size, then texts, what is missing last.
const worth = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
const compare = (a, b) => {
  const [x, y] = [Number(a), Number(b)], [p, q] = [a !== "" && !isNaN(x), b !== "" && !isNaN(y)];
  return p && q ? x - y : p !== q ? (p ? -1 : 1) : a.localeCompare(b, undefined, { numeric: true });
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
    const down = head.ariaSort === "ascending", column = head.cellIndex;
    for (const other of table.querySelectorAll("th")) other.ariaSort = "none";
    head.ariaSort = down ? "descending" : "ascending";
    const rows = [...body.rows], missing = (row) => row.cells[column].textContent.trim() === "–";
    const known = rows.filter((row) => !missing(row));
    known.sort((a, b) => (down ? -1 : 1) * compare(worth(a, column), worth(b, column)));
    body.append(...known, ...rows.filter(missing));
  });
}
// Pictures open in full size.
const large = document.querySelector("dialog"), shown = large.querySelector("img");
for (const button of document.querySelectorAll("figure button")) {
  button.addEventListener("click", () => {
    const picture = button.querySelector("img");
    shown.src = picture.src;
    shown.alt = picture.alt;
    large.showModal();
  });
}
large.addEventListener("click", (event) => event.target === shown || large.close());
// On paper nothing can be opened.
addEventListener("beforeprint", () => document.querySelectorAll("details.help").forEach((one) => (one.open = true)));
