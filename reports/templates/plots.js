// Values at the pointer, and by arrow keys, read from the table of values under each figure.
(() => {
  "use strict";
  const REACH = 16; // how near a mark has to be, in the drawing's own points

  function interactive(figure) {
    const paper = figure.querySelector(".paper");
    const svg = paper.querySelector("svg");
    const table = figure.querySelector("table.marks");
    if (!svg || !table) return;
    const series = [...table.tHead.rows[0].cells].slice(1).map((th) => th.textContent);
    const marks = [...table.tBodies[0].rows].flatMap((row, line) =>
      [...row.cells].slice(1).flatMap((cell, column) =>
        cell.dataset.x === undefined
          ? []
          : [{ line, column, at: row.cells[0].textContent, x: +cell.dataset.x, y: +cell.dataset.y, text: cell.textContent }],
      ),
    );
    if (!marks.length) return;
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", "5");
    ring.style.display = "none";
    svg.append(ring);
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("role", "status");
    paper.append(tip);
    let current = null;

    const hide = () => {
      current = null;
      tip.hidden = true;
      ring.style.display = "none";
    };
    const show = (mark) => {
      current = mark;
      ring.style.display = "";
      ring.setAttribute("cx", mark.x);
      ring.setAttribute("cy", mark.y);
      tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: series[mark.column] }));
      tip.append(` ${table.tHead.rows[0].cells[0].textContent} ${mark.at}: ${mark.text}`);
      tip.hidden = false;
      const place = new DOMPoint(mark.x, mark.y).matrixTransform(svg.getScreenCTM());
      const frame = paper.getBoundingClientRect();
      const left = Math.min(place.x - frame.left + 10, frame.width - tip.offsetWidth - 4);
      tip.style.left = `${Math.max(4, left)}px`;
      const above = place.y - frame.top - tip.offsetHeight - 10;
      tip.style.top = `${above < 2 ? place.y - frame.top + 12 : above}px`;
    };
    const nearest = (x, y, among) => {
      let best = null;
      let distance = Infinity;
      for (const mark of among) {
        const away = Math.hypot(mark.x - x, mark.y - y);
        if (away < distance) [best, distance] = [mark, away];
      }
      return [best, distance];
    };
    const pointed = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const [mark, distance] = nearest(at.x, at.y, marks);
      distance <= REACH ? show(mark) : hide();
    };
    paper.addEventListener("pointermove", pointed);
    paper.addEventListener("pointerdown", pointed);
    paper.addEventListener("pointerleave", hide);
    paper.addEventListener("blur", hide);
    paper.addEventListener("keydown", (event) => {
      const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
      if (event.key === "Escape") return hide();
      const way = ways[event.key];
      if (!way) return undefined;
      event.preventDefault();
      if (!current) return show(marks[0]);
      const [along, across] = way;
      if (along) {
        const same = marks.filter((mark) => mark.column === current.column);
        return show(same[(same.indexOf(current) + along + same.length) % same.length]);
      }
      const column = (current.column + across + series.length) % series.length;
      const [mark] = nearest(current.x, current.y, marks.filter((each) => each.column === column));
      return mark ? show(mark) : undefined;
    });
    paper.tabIndex = 0;
    paper.setAttribute("role", "application");
    paper.setAttribute("aria-roledescription", "figure; arrow keys read its values");
  }

  document.querySelectorAll("figure.plot").forEach(interactive);
})();
