// Sorting and filtering of the tables. Without this script they stand in the report's own order, all rows shown.
(() => {
  "use strict";
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const status = make("p", { className: "unseen" });
  status.setAttribute("role", "status");
  document.body.append(status);

  const sortKey = (row, at) => {
    const cell = row.cells[at];
    if (!cell) return null;
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const time = cell.querySelector("time");
    if (time) return Date.parse(time.dateTime);
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text.toLowerCase();
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.querySelectorAll("th[scope=col]")];
    const name = heads.filter((th) => th.rowSpan > 1);
    const sorted = [...name, ...heads.filter((th) => th.rowSpan === 1)];
    const order = (at, direction) => {
      if (direction === "none") return original;
      const keyed = original.map((row) => [sortKey(row, at), row]);
      const known = keyed.filter(([key]) => key !== null);
      const rest = keyed.filter(([key]) => key === null); // what is missing is last, whichever way
      known.sort(([a], [b]) => (direction === "ascending" ? compare(a, b) : compare(b, a)));
      return [...known, ...rest].map(([, row]) => row);
    };
    const turn = (th, at) => {
      const numeric = original.some((row) => typeof sortKey(row, at) === "number");
      const turns = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const next = turns[(turns.indexOf(th.getAttribute("aria-sort") ?? "none") + 1) % 3];
      for (const other of sorted) other.removeAttribute("aria-sort");
      if (next !== "none") th.setAttribute("aria-sort", next);
      table.classList.toggle("sorted", next !== "none");
      body.append(...order(at, next));
      const by = th.querySelector(".symbol").textContent;
      status.textContent = next === "none" ? "the report's own order" : `sorted by ${by}, ${next}`;
    };
    sorted.forEach((th, at) => {
      const symbol = th.querySelector(".symbol");
      if (!symbol) return;
      const button = make("button", { type: "button", className: "sort", title: "sort" });
      symbol.replaceWith(button);
      button.append(symbol);
      button.addEventListener("click", () => turn(th, at));
    });
  }

  function groupsOf(table) {
    let at = 1; // after the row's name
    return [...table.tHead.rows[0].cells].filter((th) => th.scope === "colgroup").map((th) => {
      const group = { title: th.textContent.trim(), head: th, from: at, to: at + th.colSpan };
      at = group.to;
      return group;
    });
  }

  function show(table, group, visible) {
    group.head.hidden = !visible;
    for (let at = group.from; at < group.to; at++) {
      table.tHead.rows[1].cells[at - 1].hidden = !visible;
      for (const row of table.tBodies[0].rows) if (row.cells[at]) row.cells[at].hidden = !visible;
    }
  }

  function box(text, changed) {
    const input = make("input", { type: "checkbox", checked: true });
    input.addEventListener("change", () => changed(input.checked));
    return make("label", {}, input, text);
  }

  const named = { variant: "variants", floor: "floors", control: "controls", cited: "cited" };

  function filterable(tables) {
    const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
    const roles = [...new Set(rows.map((row) => row.dataset.role))];
    const hidden = new Set();
    const find = make("input", { type: "search", placeholder: "name or setting" });
    const count = make("output", {});
    const apply = () => {
      const wanted = find.value.trim().toLowerCase();
      for (const row of rows) {
        const words = [...row.querySelectorAll("th, td.words")].map((cell) => cell.textContent).join(" ").toLowerCase();
        row.hidden = hidden.has(row.dataset.role) || !words.includes(wanted);
      }
      const first = [...tables[0].tBodies[0].rows];
      count.textContent = `${first.filter((row) => !row.hidden).length} of ${first.length} rows`;
    };
    find.addEventListener("input", apply);
    const tools = make("div", { className: "tools" }, make("label", {}, "Filter ", find));
    tools.setAttribute("role", "group");
    tools.setAttribute("aria-label", "Rows and columns shown");
    if (roles.length > 1) {
      for (const role of roles) {
        tools.append(box(named[role] ?? role, (on) => (on ? hidden.delete(role) : hidden.add(role), apply())));
      }
    }
    const groups = tables.flatMap((table) => groupsOf(table).filter((g) => g.title).map((group) => [table, group]));
    if (groups.length > 1) {
      const boxes = groups.map(([table, group]) => box(group.title, (on) => show(table, group, on)));
      tools.append(make("details", { className: "columns" }, make("summary", { textContent: "Columns" }), ...boxes));
    }
    tools.append(count);
    tables[0].closest(".scroll").before(tools);
    apply();
  }

  const tables = [...document.querySelectorAll("table.results")].filter((table) => table.tBodies[0].rows.length > 1);
  tables.forEach(sortable);
  const bySection = new Map();
  for (const table of tables.filter((table) => !table.classList.contains("short"))) {
    const section = table.closest("section");
    bySection.set(section, [...(bySection.get(section) ?? []), table]);
  }
  for (const together of bySection.values()) {
    const several = new Set([...together[0].tBodies[0].rows].map((row) => row.dataset.role)).size > 1;
    if (several || together[0].tBodies[0].rows.length > 8) filterable(together);
  }
})();
