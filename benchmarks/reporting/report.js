"use strict";
(() => {
  const body = document.querySelector("tbody");
  const rows = [...body.rows];
  const value = (row, key) => (row.dataset[key] === undefined ? NaN : Number(row.dataset[key]));

  // Sorting: the headers become buttons. Unmeasured values come last in both directions.
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

  // Copying: the table as text without intervals; a text field if the clipboard is not accessible.
  const copying = document.getElementById("copy");
  const heads = headers.map((header) => header.textContent.trim());
  const cells = () => [...body.rows].map((row) => [row.dataset.title,
    ...[...row.cells].slice(1).flatMap((cell) => {
      const text = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL");
      return [text.map((node) => node.textContent).join("").trim(), ...Array(cell.colSpan - 1).fill("")];
    })]);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (row) => `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  const kinds = {
    CSV: () => [heads, ...cells()].map((row) => row.map(quoted).join(",")).join("\n") + "\n",
    Markdown: () => [line(heads), line(heads.map((_, n) => (n ? "---:" : "---"))), ...cells().map(line)].join("\n") + "\n",
  };
  for (const [kind, write] of Object.entries(kinds)) {
    const button = copying.appendChild(document.createElement("button"));
    const name = `Copy as ${kind}`;
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", async () => {
      const text = write();
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = name), 1500);
      } catch {
        copying.querySelector("textarea")?.remove();
        const field = copying.appendChild(document.createElement("textarea"));
        Object.assign(field, { value: text, readOnly: true, ariaLabel: `The table as ${kind}` });
        field.select();
      }
    });
  }
  copying.hidden = false;

  // Budget: a slider moves a line in the scatter plot; the best file within the budget is shown.
  const plot = document.getElementById("scatter");
  const timed = rows.filter((row) => value(row, "median") > 0 && value(row, "score") >= 0);
  if (!plot || !timed.length) return;
  const { left, right, top, bottom, limit } = Object.fromEntries(
    Object.entries(plot.dataset).map(([name, text]) => [name, Number(text)]));
  const mark = plot.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
  mark.id = "budget-line";
  mark.setAttribute("style", "stroke: var(--warn); stroke-width: 1.4; stroke-dasharray: 4 3");
  mark.setAttribute("y1", top);
  mark.setAttribute("y2", bottom);
  const slider = document.getElementById("limit");
  const digits = Math.max(0, 2 - Math.floor(Math.log10(limit)));
  Object.assign(slider, { min: 0, max: limit, step: 10 ** -digits, value: limit });
  const describe = (row) =>
    `${row.dataset.title}, ${(100 * value(row, "score")).toFixed(1)} % at ${value(row, "median").toFixed(digits)} ms`;
  function choose(moved) {
    const budget = Number(slider.value);
    const x = left + (budget / limit) * (right - left);
    mark.setAttribute("x1", x);
    mark.setAttribute("x2", x);
    const better = (a, b) =>
      value(b, "score") - value(a, "score") || value(a, "median") - value(b, "median");
    const [best] = timed.filter((row) => value(row, "median") <= budget).sort(better);
    if (moved) {
      for (const row of rows) {
        row.classList.remove("praised");
        row.classList.toggle("chosen", row === best);
      }
    }
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
