// Keeps a page fresh: fetches it again and swaps the parts marked data-live whose text has changed on the server.
// Without this script the page shows the same after a reload.
"use strict";

const every = Number(document.body.dataset.refresh) * 1000;
const parts = [...document.querySelectorAll("[data-live]")];
const shown = new Map(parts.map((part) => [part.id, part.innerHTML])); // as the server sent it, before plots are drawn
let failures = 0;

function swap(part, next) {
  // A plot that is already drawn stays and only learns its new address, so that it does not flicker.
  for (const figure of next.querySelectorAll("[data-figure]")) {
    const drawn = document.getElementById(figure.id);
    if (!drawn) continue;
    drawn.dataset.figure = figure.dataset.figure;
    figure.replaceWith(drawn);
  }
  part.replaceChildren(...next.childNodes);
}

async function refresh() {
  if (document.hidden) return true;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) throw new Error(String(response.status));
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of parts) {
    const next = fresh.getElementById(part.id);
    if (!next || next.innerHTML === shown.get(part.id)) continue;
    shown.set(part.id, next.innerHTML);
    swap(part, next);
  }
  document.dispatchEvent(new Event("layerprune:changed"));
  return fresh.body.hasAttribute("data-refresh");
}

async function loop() {
  let goesOn = true;
  try {
    goesOn = await refresh();
    failures = 0;
  } catch {
    failures += 1;
  }
  if (goesOn) setTimeout(loop, every * Math.min(2 ** failures, 16));
}

if (every > 0) setTimeout(loop, every);
