// Draws every element that names a figure in data-figure; colours are CSS variables, resolved here for light and dark.
"use strict";

const drawn = new Map(); // element -> the figure as it came, to be themed again
const addresses = new WeakMap(); // element -> the address of what it shows

function themed(value, style) {
  if (Array.isArray(value)) return value.map((item) => themed(item, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
  }
  if (typeof value === "string" && value.startsWith("var(")) return style.getPropertyValue(value.slice(4, -1)).trim();
  return value;
}

async function paint(element) {
  const figure = drawn.get(element);
  const { data, layout } = themed(figure, getComputedStyle(document.documentElement));
  await Plotly.react(element, data, layout, { responsive: true, displayModeBar: false });
  element.dataset.drawn = String(data.filter((trace) => trace.meta && trace.meta.points).length);
}

async function draw(element) {
  addresses.set(element, element.dataset.figure);
  const response = await fetch(element.dataset.figure, { headers: { Accept: "application/json" } });
  if (!response.ok) {
    element.innerHTML = "<p>The figure could not be loaded; reload the page to try again.</p>";
    return;
  }
  const first = !drawn.has(element);
  if (first) element.replaceChildren();
  drawn.set(element, await response.json());
  await paint(element);
  if (first) {
    element.on("plotly_click", (event) => {
      const link = event.points[0].customdata && event.points[0].customdata[0];
      if (typeof link === "string" && link.startsWith("/variants/")) location.assign(link);
    });
  }
}

function drawAll() {
  for (const element of drawn.keys()) if (!element.isConnected) drawn.delete(element);
  for (const element of document.querySelectorAll("[data-figure]")) {
    if (addresses.get(element) !== element.dataset.figure) draw(element);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const element of drawn.keys()) paint(element);
});
document.addEventListener("layerprune:changed", drawAll);
drawAll();
