"use strict";
const { words, links } = {{data}};
const picture = document.querySelector("svg");
const card = document.getElementById("card");
const nodes = new Map([...picture.querySelectorAll(".node[data-id]")].map((node) => [node.dataset.id, node]));
let kept = null;

function reach(from, to, style) {
  const [a, b] = [nodes.get(from), nodes.get(to)].map((node) => node.querySelector("rect").getBBox());
  const [x1, y1, x2, y2] = [a.x + a.width, a.y + a.height / 2, b.x, b.y + b.height / 2];
  const bend = Math.max(40, Math.abs(x2 - x1) / 2);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("class", `reach ${style}`);
  line.setAttribute("d", `M${x1},${y1}C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`);
  picture.append(line);
}

function show(id) {
  picture.querySelectorAll(".reach").forEach((line) => line.remove());
  nodes.forEach((node) => node.classList.remove("near", "here"));
  picture.classList.toggle("chosen", id !== null);
  card.textContent = id === null ? "" : words[id];
  if (id === null) return;
  nodes.get(id).classList.add("here");
  for (const other of Object.keys(links[id])) {
    nodes.get(other).classList.add("near");
    reach(other, id, "took");
  }
  for (const [other, taken] of Object.entries(links)) {
    if (!(id in taken)) continue;
    nodes.get(other).classList.add("near");
    reach(id, other, "gave");
  }
}

nodes.forEach((node, id) => {
  node.setAttribute("tabindex", "0");
  // The card says it all; the browser's own tip would cover the lines.
  node.querySelector("title").remove();
  node.addEventListener("pointerenter", () => kept ?? show(id));
  node.addEventListener("pointerleave", () => kept ?? show(null));
  node.addEventListener("focus", () => show(id));
  node.addEventListener("blur", () => show(kept));
  node.addEventListener("click", () => show((kept = kept === id ? null : id)));
});
document.addEventListener("keydown", (event) => event.key === "Escape" && show((kept = null)));
