"use strict";
// Comforts only: without this script the page is complete, in English or Korean, with unsorted tables.
const korean = document.getElementById("language-ko");
const setLanguage = () => { document.documentElement.lang = korean.checked ? "ko" : "en"; };
if ((navigator.language || "").startsWith("ko")) korean.checked = true;
for (const choice of document.getElementsByName("language")) choice.addEventListener("change", setLanguage);
setLanguage();

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : !numeric;
      const key = (row) => {
        const cell = row.cells[column];
        return numeric ? Number(cell.dataset.value) : cell.textContent;
      };
      const order = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b)));
      body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  });
}

const tools = document.querySelector(".tools");
if (tools) {
  tools.hidden = false;
  const rows = [...document.querySelector("table.filtered").tBodies[0].rows];
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
