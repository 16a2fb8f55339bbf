// Sorting and plots: of the tables that are in the page, and of those that the script makes.
function sortable(th, sort) {
  const button = el("button", { type: "button", class: "sort" });
  button.append(...th.childNodes);
  button.addEventListener("click", sort);
  th.replaceChildren(button);
}

function markSorted(row, th, ascending) {
  for (const other of row.cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

/** Values before none, whichever the direction. */
function byValue(value, ascending) {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "string" ? compareText(x, y) : x - y;
    return ascending ? order : -order;
  };
}

function number(cell, name) {
  return name in cell.dataset ? Number(cell.dataset[name]) : null;
}

/** Sort buttons and a plot for a table that is in the page. */
function enhance(table) {
  const head = table.tHead.rows[0];
  const rows = [...table.tBodies[0].rows];
  const headings = [...head.cells];
  const cells = rows.map((row) => [...row.cells]);
  const place = new Map(rows.map((row, r) => [row, r]));
  headings.forEach((th, c) => {
    const isText = th.classList.contains("text");
    const value = (row) => {
      const cell = cells[place.get(row)][c];
      return isText ? cell.textContent : number(cell, "value");
    };
    sortable(th, () => {
      const ascending = th.getAttribute("aria-sort") !== "ascending";
      markSorted(head, th, ascending);
      table.tBodies[0].append(...[...rows].sort(byValue(value, ascending)));
    });
  });
  table.classList.add("enhanced");
  const plotted = headings.filter((th) => "plot" in th.dataset);
  if (plotted.length) addPlot(headings, rows, cells, plotted);
}

function addPlot(headings, rows, cells, plotted) {
  const names = plotted.map((th) => th.textContent);
  const table = headings[0].closest("table");
  const free = table.parentElement.clientWidth - table.offsetWidth - 2 * remPixels();
  const width = Math.max(150, Math.min(420, free));
  const heading = el("th", { scope: "col", class: "plot" });
  headings[0].after(heading);
  const slots = cells.map((row) => {
    const slot = el("td", { class: "plot" });
    row[0].after(slot);
    return slot;
  });
  const draw = (k) => {
    const c = headings.indexOf(plotted[k]);
    const marks = cells.map((row) => ({
      value: number(row[c], "value"),
      low: number(row[c], "low"),
      high: number(row[c], "high"),
      text: row[c].textContent,
    }));
    const scale = makeScale(marks.flatMap((m) => [m.value, m.low, m.high]), width);
    heading.replaceChildren(chooser ?? el("span", {}, names[k]), axis(scale));
    slots.forEach((slot, r) => slot.replaceChildren(whisker(scale, marks[r], names[k])));
  };
  const chooser =
    names.length > 1
      ? el(
          "select",
          { "aria-label": "What is plotted", onchange: (event) => draw(event.target.selectedIndex) },
          ...names.map((name) => el("option", {}, name)),
        )
      : null;
  const first = Math.max(0, plotted.findIndex((th) => th.dataset.plot === "first"));
  if (chooser) chooser.selectedIndex = first;
  draw(first);
}

/**
 * A table that the script makes. Columns: {name, value(row), cell(row), text, plot}. The first
 * `few` rows are shown until the reader asks for all.
 */
function dataTable(place, label, columns, rows, sorted, few = 20) {
  const head = el("tr");
  const body = el("tbody");
  let current = [...rows];
  let all = rows.length <= few * 1.5;
  const show = () => {
    const seen = all ? current : current.slice(0, few);
    body.replaceChildren(
      ...seen.map((row) =>
        el("tr", {}, ...columns.map((column, c) => {
          const attributes = { class: column.kind ?? "number", scope: c ? null : "row" };
          return el(c ? "td" : "th", attributes, column.cell(row));
        })),
      ),
    );
    more.hidden = all;
  };
  const more = el("button", { type: "button", class: "more", onclick: () => { all = true; show(); } },
    `Show all ${rows.length.toLocaleString("en")}`);
  for (const column of columns) {
    const attributes = { scope: "col", class: column.kind ?? "number", title: column.note ?? null };
    const th = el("th", attributes, column.name);
    if (column.axis) th.append(column.axis);
    head.append(th);
    if (!column.value) continue;
    const sort = (ascending) => {
      markSorted(head, th, ascending);
      current = [...rows].sort(byValue(column.value, ascending));
      show();
    };
    const natural = column.kind === "text"; // words from A on, numbers from the greatest on
    sortable(th, () => {
      const again = th.getAttribute("aria-sort") === (natural ? "ascending" : "descending");
      sort(natural !== again);
    });
    if (column.name === sorted) sort(natural);
  }
  if (!sorted) show();
  place.replaceChildren(
    el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label },
      el("table", { class: "figures" }, el("thead", {}, head), body)),
    more,
  );
}
