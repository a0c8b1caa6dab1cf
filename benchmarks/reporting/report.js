"use strict";
(() => {
  const body = document.querySelector("tbody");
  const rows = [...body.rows];
  const value = (row, key) => (row.dataset[key] === undefined ? NaN : Number(row.dataset[key]));

  // Sorting: the headers become buttons; what was not measured comes last either way.
  const headers = [...document.querySelectorAll("th[data-sort]")];
  function sort(header) {
    const rising = header.getAttribute("aria-sort") !== "ascending";
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = header.dataset.sort;
    const order = (a, b) => {
      const [first, second] = [value(a, key), value(b, key)];
      const missing = Number.isNaN(first) - Number.isNaN(second);
      return missing || (rising ? first - second : second - first) || value(a, "place") - value(b, "place");
    };
    body.append(...[...rows].sort(order));
  }
  for (const header of headers) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.title = "Sort by this column";
    button.addEventListener("click", () => sort(header));
    header.replaceChildren(button);
  }

  // The budget: a line in the scatter that a slider moves, and the best file to its left.
  const plot = document.getElementById("scatter");
  const timed = rows.filter((row) => value(row, "median") > 0 && value(row, "score") >= 0);
  if (!plot || !timed.length) return;
  const { left, right, top, bottom, limit } = Object.fromEntries(
    Object.entries(plot.dataset).map(([name, text]) => [name, Number(text)]));
  const line = plot.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
  line.id = "budget-line";
  line.setAttribute("style", "stroke: var(--warn); stroke-width: 1.4; stroke-dasharray: 4 3");
  line.setAttribute("y1", top);
  line.setAttribute("y2", bottom);
  const slider = document.getElementById("limit");
  const digits = Math.max(0, 2 - Math.floor(Math.log10(limit)));
  Object.assign(slider, { min: 0, max: limit, step: 10 ** -digits, value: limit });
  const describe = (row) =>
    `${row.dataset.title}, ${(100 * value(row, "score")).toFixed(1)} % at ${value(row, "median").toFixed(digits)} ms`;
  function choose() {
    const budget = Number(slider.value);
    const x = left + (budget / limit) * (right - left);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    const better = (a, b) =>
      value(b, "score") - value(a, "score") || value(a, "median") - value(b, "median");
    const [best] = timed.filter((row) => value(row, "median") <= budget).sort(better);
    for (const row of rows) row.classList.toggle("chosen", row === best);
    const [nearest] = [...timed].sort((a, b) => value(a, "median") - value(b, "median"));
    const text = best ? `Best within ${budget.toFixed(digits)} ms: ${describe(best)}.`
      : `Nothing runs within ${budget.toFixed(digits)} ms. The nearest: ${describe(nearest)}.`;
    document.getElementById("choice").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }
  slider.addEventListener("input", choose);
  document.getElementById("budget").hidden = false;
  choose();
})();
