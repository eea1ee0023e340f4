// The sequence viewer: scrubs through the kept frames of a sequence, boxes of every row, overlap over all frames.
(() => {
  "use strict";
  const root = document.getElementById("viewer");
  if (!root) return;
  const SVG = "http://www.w3.org/2000/svg";
  const ABSENT = -32768; // in boxes; 255 in overlaps
  const films = [...root.querySelectorAll("[data-film]")].map((element) => JSON.parse(element.dataset.film));
  const find = (name) => root.querySelector(name);
  const [choice, stage, scrub, play, said, rows] = ["select", ".stage", "input[type=range]", ".play", "output", ".rows"].map(find);
  const off = new Set();
  let film = null;
  let timer = null;

  const draw = (tag, attributes, parent) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const boxes = (text) => new Int16Array(bytes(text).buffer);
  const boxAt = (packed, index) => {
    const box = packed.subarray(4 * index, 4 * index + 4);
    return box.length < 4 || box[0] === ABSENT ? null : [...box].map((value) => value / 10);
  };
  const place = (rect, box) => {
    rect.style.display = box ? "" : "none";
    if (!box) return;
    ["x", "y", "width", "height"].forEach((key, at) => rect.setAttribute(key, at > 1 ? Math.max(0, box[at]) : box[at]));
  };

  function open(chosen) {
    film = { ...chosen, truth: boxes(chosen.truth) };
    film.rows = chosen.rows.map((row) => ({ ...row, boxes: boxes(row.boxes), iou: bytes(row.iou) }));
    stage.setAttribute("viewBox", `0 0 ${film.width} ${film.height}`);
    stage.replaceChildren();
    film.image = draw("image", { width: film.width, height: film.height }, stage);
    film.halo = draw("rect", { class: "halo" }, stage);
    film.box = draw("rect", { class: "truth" }, stage);
    rows.replaceChildren(...film.rows.map(line));
    scrub.max = film.frames - 1;
    scrub.step = film.step;
    scrub.value = 0;
    refresh();
  }

  function line(row) {
    row.rect = draw("rect", { class: "predicted", style: `stroke:${row.colour}`, "stroke-dasharray": row.dash }, stage);
    const input = Object.assign(document.createElement("input"), { type: "checkbox", checked: !off.has(row.name) });
    input.addEventListener("change", () => {
      input.checked ? off.delete(row.name) : off.add(row.name);
      refresh();
    });
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.borderTop = `3px ${row.dash ? "dashed" : "solid"} ${row.colour}`;
    const label = document.createElement("label");
    label.append(input, swatch, row.name);
    row.now = Object.assign(document.createElement("span"), { className: "now" });
    const strip = document.createElementNS(SVG, "svg");
    strip.setAttribute("class", "overlap");
    strip.setAttribute("viewBox", `0 0 ${Math.max(1, film.frames - 1)} 100`);
    strip.setAttribute("preserveAspectRatio", "none");
    strip.setAttribute("aria-hidden", "true");
    draw("line", { x1: 0, x2: film.frames, y1: 50, y2: 50, class: "half" }, strip);
    draw("path", { d: outline(row.iou), fill: row.colour, stroke: row.colour }, strip);
    row.mark = draw("line", { y1: 0, y2: 100, class: "mark" }, strip);
    strip.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      go(Math.round(((event.clientX - box.left) / box.width) * (film.frames - 1)));
    });
    const whole = document.createElement("div");
    whole.className = "line";
    whole.append(label, row.now, strip);
    return whole;
  }

  // One closed area per stretch of frames with a true box: a gap is not an overlap of 0.
  function outline(overlaps) {
    let path = "";
    for (let at = 0; at < overlaps.length; at++) {
      if (overlaps[at] === 255) continue;
      const begun = at;
      path += `M${begun} 100`;
      while (at < overlaps.length && overlaps[at] !== 255) path += `L${at} ${100 - overlaps[at++]}`;
      path += `L${at - 1} 100Z`;
    }
    return path;
  }

  function go(frame) {
    scrub.value = frame;
    refresh();
  }

  function refresh() {
    const frame = Number(scrub.value);
    const index = Math.round(frame / film.step);
    let nearest = 0;
    film.kept.forEach((kept, at) => {
      if (Math.abs(kept - frame) < Math.abs(film.kept[nearest] - frame)) nearest = at;
    });
    const exact = film.kept[nearest] === frame;
    film.image.setAttribute("href", `data:image/jpeg;base64,${film.jpegs[nearest]}`);
    film.image.setAttribute("opacity", exact ? 1 : 0.55);
    const truth = boxAt(film.truth, index);
    place(film.halo, truth);
    place(film.box, truth);
    const words = film.rows.map((row) => {
      place(row.rect, off.has(row.name) ? null : boxAt(row.boxes, index));
      const overlap = row.iou[frame];
      const text = overlap === undefined || overlap === 255 ? "–" : (overlap / 100).toFixed(2);
      row.now.textContent = text;
      row.mark.setAttribute("x1", frame);
      row.mark.setAttribute("x2", frame);
      return `${row.name} ${text}`;
    });
    const backdrop = exact ? "" : `; picture of frame ${film.kept[nearest]}, the nearest that is kept`;
    said.textContent = `frame ${frame} of ${film.frames - 1}${backdrop}${truth ? "" : "; no true box known"}`;
    scrub.setAttribute("aria-valuetext", `frame ${frame}, IoU ${words.join(", ")}`);
    stage.setAttribute("aria-label", `Frame ${frame} of ${film.name}; IoU ${words.join(", ")}`);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }
  function start() {
    if (Number(scrub.value) + film.step > film.frames - 1) scrub.value = 0;
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (Number(scrub.value) + film.step > film.frames - 1) stop();
      else go(Number(scrub.value) + film.step);
    }, 80);
  }

  choice.append(...films.map((each, at) => new Option(`${each.name}: ${each.why}`, at)));
  choice.addEventListener("change", () => (stop(), open(films[choice.value])));
  scrub.addEventListener("input", () => (stop(), refresh()));
  play.addEventListener("click", () => (timer ? stop() : start()));
  stage.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (way) go(Number(scrub.value) + way * film.step);
    else if (event.key === " ") play.click();
    else return;
    event.preventDefault();
  });
  root.hidden = false;
  open(films[0]);
})();
