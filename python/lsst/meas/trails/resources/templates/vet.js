"use strict";
(() => {
  const find = id => document.getElementById(id);
  const data = JSON.parse(find("data").textContent);
  const items = data.candidates;
  const places = new Map(items.map((item, place) => [item.id, place]));
  const panels = data.panels.filter(([name]) => !data.absent.includes(name));
  const kinds = new Map(data.kinds);
  const PAGE = 48;
  const HISTORY = 500;

  /* labels: { id: { label, kind, labeler, time } }; history: lists of [id, earlier label or null]. */
  let state = { labels: {}, history: [], labeler: "", at: null };
  let at = 0;
  let panel = panels[0][0];
  let line = true;
  let smooth = false;
  let sheet = false;
  let filter = "all";
  let unsaved = false;

  /* Storage. */

  const restore = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(data.key));
      if (kept && typeof kept.labels === "object" && Array.isArray(kept.history)) state = { ...state, ...kept };
    } catch (error) {
      say("The browser gives no access to its storage: download the labels before you close the page.");
    }
    const start = places.get(state.at);
    const open = items.findIndex(item => !(item.id in state.labels));
    at = open >= 0 ? open : start === undefined ? 0 : start;
    find("labeler").value = state.labeler;
  };

  const save = () => {
    state.at = items[at].id;
    state.history = state.history.slice(-HISTORY);
    try {
      localStorage.setItem(data.key, JSON.stringify(state));
    } catch (error) {
      unsaved = true;
      say("The browser cannot keep the labels: download them before you close the page.");
    }
  };

  const say = text => { find("status").textContent = text; };

  /* Selection. */

  const labelOf = item => state.labels[item.id] ? state.labels[item.id].label : "unlabeled";
  const matches = item => filter === "all" || labelOf(item) === filter;
  const chosen = () => items.map((item, place) => place).filter(place => matches(items[place]));

  const step = (from, by) => {
    for (let place = from + by; place >= 0 && place < items.length; place += by) {
      if (matches(items[place])) return place;
    }
    return -1;
  };

  const move = (place, focus) => {
    if (place < 0 || place >= items.length) return;
    at = place;
    save();
    show(focus);
  };

  /* Labels. */

  const change = (changes, next) => {
    state.history.push(changes.map(([id]) => [id, state.labels[id] || null]));
    for (const [id, label] of changes) {
      if (label) state.labels[id] = label;
      else delete state.labels[id];
    }
    if (next >= 0) at = next;
    save();
    show(sheet);
  };

  const give = (label, kind) => {
    const item = items[at];
    if (!matches(item)) return;
    const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const next = step(at, 1);
    change([[item.id, { label, kind, labeler: state.labeler, time }]], next);
    const text = `Candidate ${places.get(item.id) + 1}: ${kind ? kinds.get(kind) : label}.`;
    say(next < 0 ? `${text} This was the last candidate of the selection.` : text);
  };

  const undo = () => {
    const last = state.history.pop();
    if (!last) {
      say("There is nothing to undo.");
      return;
    }
    for (const [id, label] of last) {
      if (label) state.labels[id] = label;
      else delete state.labels[id];
    }
    at = places.get(last[last.length - 1][0]);
    save();
    show(sheet);
    say(last.length === 1 ? `Candidate ${at + 1}: the label before the last one.` : `${last.length} labels are as before.`);
  };

  /* Pictures. */

  const SVG = "http://www.w3.org/2000/svg";
  const draw = (item, name, title) => {
    const box = document.createElement("span");
    box.className = "window box";
    box.style.setProperty("--side", item.side);
    const image = document.createElement("img");
    const total = data.panels.length;
    const index = data.panels.findIndex(([known]) => known === name);
    image.alt = title;
    image.loading = "lazy";
    image.decoding = "async";
    image.style.width = `${100 * total}%`;
    image.style.transform = `translateX(${-100 * index / total}%)`;
    image.src = item.source;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("aria-hidden", "true");
    const [x0, y0, x1, y1] = item.line;
    const add = (kind, values) => {
      const element = document.createElementNS(SVG, kind);
      for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
      svg.append(element);
    };
    /* The line stays beside the trail, so that its pixels are visible. */
    const length = Math.hypot(x1 - x0, y1 - y0) || 1;
    const dx = -0.045 * (y1 - y0) / length;
    const dy = 0.045 * (x1 - x0) / length;
    for (const side of [-1, 1]) {
      add("line", { x1: x0 + side * dx, y1: y0 + side * dy, x2: x1 + side * dx, y2: y1 + side * dy });
    }
    add("circle", { cx: x0, cy: y0, r: 0.02 });
    add("circle", { cx: x1, cy: y1, r: 0.02 });
    box.append(image, svg);
    return box;
  };

  const titleOf = (item, name) => {
    const title = data.panels.find(([known]) => known === name)[1];
    return item.missing.includes(name) ? `${title}: no data` : title;
  };

  const blink = () => {
    const item = items[at];
    const usable = panels.map(([name]) => name).filter(name => sheet || !item.missing.includes(name));
    if (usable.length) panel = usable[(usable.indexOf(panel) + 1) % usable.length];
    show(sheet);
  };

  /* Views. */

  const showSingle = () => {
    const item = items[at];
    const number = `candidate ${at + 1}`;
    find("stage").replaceChildren(draw(item, panel, `${titleOf(item, panel)} of ${number}`));
    find("caption").textContent = `${titleOf(item, panel)}, ${item.side} pixels`;
    const focused = document.activeElement && document.activeElement.dataset.panel;
    find("thumbs").replaceChildren(...panels.map(([name]) => {
      const button = document.createElement("button");
      const text = document.createElement("span");
      button.type = "button";
      button.className = "picture";
      button.dataset.panel = name;
      button.setAttribute("aria-pressed", String(name === panel));
      text.className = "name";
      text.textContent = titleOf(item, name);
      button.append(draw(item, name, `Small picture of ${number}`), text);
      return button;
    }));
    if (focused) find("thumbs").querySelector(`[data-panel="${focused}"]`).focus();
    find("position").textContent = `${at + 1} of ${items.length}`;
    find("previous").disabled = step(at, -1) < 0;
    find("next").disabled = step(at, 1) < 0;
    const given = state.labels[item.id];
    for (const button of document.querySelectorAll(".label")) {
      const { label, kind = "" } = button.dataset;
      button.setAttribute("aria-pressed", String(Boolean(given) && given.label === label && given.kind === kind));
    }
    find("facts").replaceChildren(...item.facts.flatMap(([name, value]) => {
      const pair = [document.createElement("dt"), document.createElement("dd")];
      pair[0].textContent = name;
      pair[1].textContent = value;
      return pair;
    }));
    /* The next picture is there when it is wanted. */
    const next = step(at, 1);
    if (next >= 0) new Image().src = items[next].source;
  };

  const showSheet = focus => {
    const list = chosen();
    const page = Math.max(0, Math.floor(list.findIndex(place => place >= at) / PAGE));
    const pages = Math.max(1, Math.ceil(list.length / PAGE));
    find("page").textContent = `Page ${page + 1} of ${pages}`;
    find("page-back").disabled = page === 0;
    find("page-on").disabled = page + 1 >= pages;
    find("sheet-panel").textContent = data.panels.find(([name]) => name === panel)[1];
    const cards = list.slice(page * PAGE, (page + 1) * PAGE).map(place => {
      const item = items[place];
      const given = state.labels[item.id];
      const words = given ? (given.kind ? kinds.get(given.kind) : given.label) : "no label";
      const card = document.createElement("button");
      const text = document.createElement("span");
      card.type = "button";
      card.className = "card";
      card.dataset.place = place;
      if (given) card.dataset.label = given.label;
      if (place === at) card.setAttribute("aria-current", "true");
      text.className = "card-text";
      text.textContent = `${place + 1}: ${item.score}, ${words}`;
      card.append(draw(item, panel, `${titleOf(item, panel)} of candidate ${place + 1}`), text);
      return card;
    });
    find("cards").replaceChildren(...cards);
    const current = cards.find(card => Number(card.dataset.place) === at);
    if (focus && current) current.focus();
  };

  const show = focus => {
    if (!matches(items[at])) {
      const near = step(at, 1) >= 0 ? step(at, 1) : step(at, -1);
      if (near >= 0) at = near;
    }
    const empty = !items.some(matches);
    const done = items.filter(item => item.id in state.labels).length;
    find("nothing").hidden = !empty;
    find("single").hidden = sheet || empty;
    find("sheet").hidden = !sheet || empty;
    find("view").setAttribute("aria-pressed", String(sheet));
    find("overlay").setAttribute("aria-pressed", String(line));
    find("smooth").setAttribute("aria-pressed", String(smooth));
    document.body.classList.toggle("no-line", !line);
    document.body.classList.toggle("smooth", smooth);
    find("progress").max = items.length;
    find("progress").value = done;
    find("count").textContent = `${done} of ${items.length} labeled`;
    find("undo").disabled = state.history.length === 0;
    if (empty) return;
    if (sheet) showSheet(focus);
    else showSingle();
  };

  const turn = by => {
    const list = chosen();
    const page = Math.floor(list.indexOf(at) / PAGE) + by;
    if (page >= 0 && page * PAGE < list.length) move(list[page * PAGE], false);
  };

  const toggle = () => {
    sheet = !sheet;
    show(sheet);
  };

  /* Files. */

  const quote = value => /[",\n\r]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value;

  const download = () => {
    const rows = items.filter(item => item.id in state.labels).map(item => {
      const values = { ...item, ...state.labels[item.id], trailCandidateId: item.id };
      return data.columns.map(name => quote(String(values[name]))).join(",");
    });
    const link = document.createElement("a");
    const name = ["labels", data.collection, state.labeler].join("-").replace(/[^A-Za-z0-9_-]+/g, "-");
    link.href = URL.createObjectURL(new Blob([[data.columns.join(","), ...rows, ""].join("\n")], { type: "text/csv" }));
    link.download = `${name.replace(/-+$/, "")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unsaved = false;
    say(`Downloaded ${rows.length} labels as ${link.download}.`);
  };

  /* Return the rows of a CSV or ECSV file. */
  const parse = text => {
    const body = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter(row => !row.startsWith("#")).join("\n");
    const comma = body.split("\n", 1)[0].includes(",") ? "," : " ";
    const rows = [[""]];
    let quoted = false;
    for (let i = 0; i < body.length; i += 1) {
      const row = rows[rows.length - 1];
      const letter = body[i];
      if (letter === '"' && quoted && body[i + 1] === '"') {
        row[row.length - 1] += '"';
        i += 1;
      } else if (letter === '"') quoted = !quoted;
      else if (letter === comma && !quoted) row.push("");
      else if (letter === "\n" && !quoted) rows.push([""]);
      else row[row.length - 1] += letter;
    }
    const header = rows[0];
    return rows.slice(1).filter(row => row.length > 1).map(
      row => Object.fromEntries(header.map((name, i) => [name, row[i] || ""])));
  };

  const load = async file => {
    const rows = parse(await file.text());
    const valid = ({ label, kind }) => label === "artifact" ? kinds.has(kind) : ["trail", "unsure"].includes(label) && !kind;
    const known = rows.filter(row => places.has(row.trailCandidateId) && valid(row));
    /* Of two labels of a candidate the later one counts. */
    const changes = known.filter(row => {
      const given = state.labels[row.trailCandidateId];
      return !given || given.time < row.time;
    }).map(({ trailCandidateId, label, kind, labeler, time }) => [trailCandidateId, { label, kind, labeler, time }]);
    if (changes.length) change(changes, -1);
    const other = rows.length - known.length;
    say(`Loaded ${changes.length} of ${rows.length} labels.` + (other ? ` ${other} are not labels of these candidates.` : ""));
  };

  const clear = () => {
    const changes = items.filter(item => item.id in state.labels).map(item => [item.id, null]);
    if (changes.length) change(changes, -1);
    say(`Removed ${changes.length} labels; undo brings them back.`);
  };

  /* Events. */

  const on = (id, event, action) => find(id).addEventListener(event, action);
  on("stage", "click", blink);
  on("blink", "click", blink);
  on("sheet-blink", "click", blink);
  on("overlay", "click", () => { line = !line; show(false); });
  on("smooth", "click", () => { smooth = !smooth; show(false); });
  on("undo", "click", undo);
  on("previous", "click", () => move(step(at, -1)));
  on("next", "click", () => move(step(at, 1)));
  on("view", "click", toggle);
  on("help", "click", () => find("keys").showModal());
  on("page-back", "click", () => turn(-1));
  on("page-on", "click", () => turn(1));
  on("download", "click", download);
  on("clear", "click", clear);
  on("filter", "change", event => { filter = event.target.value; show(false); });
  on("labeler", "change", event => { state.labeler = event.target.value.trim(); save(); });
  on("load", "change", async event => {
    if (event.target.files.length) await load(event.target.files[0]);
    event.target.value = "";
  });
  for (const button of document.querySelectorAll(".label")) {
    button.addEventListener("click", () => give(button.dataset.label, button.dataset.kind || ""));
  }
  on("thumbs", "click", event => {
    const button = event.target.closest("button");
    if (button) { panel = button.dataset.panel; show(false); }
  });
  on("cards", "click", event => {
    const card = event.target.closest(".card");
    if (card) { sheet = false; move(Number(card.dataset.place)); }
  });
  document.addEventListener("click", event => {
    /* After a click or tap, space blinks instead of pressing the button again. */
    const button = event.target.closest("button");
    if (event.detail > 0 && button && !button.classList.contains("card")) button.blur();
  });

  const columns = () => getComputedStyle(find("cards")).gridTemplateColumns.split(" ").length;
  const along = by => {
    const list = chosen();
    const place = list.indexOf(at) + by;
    if (place >= 0 && place < list.length) move(list[place], sheet);
  };
  const keys = {
    t: () => give("trail", ""),
    u: () => give("unsure", ""),
    b: blink,
    " ": blink,
    o: () => { line = !line; show(sheet); },
    m: () => { smooth = !smooth; show(sheet); },
    z: undo,
    s: toggle,
    "?": () => find("keys").showModal(),
    ArrowLeft: () => along(-1),
    ArrowRight: () => along(1),
    ArrowUp: () => along(-columns()),
    ArrowDown: () => along(columns()),
    ...Object.fromEntries(data.kinds.map(([kind], i) => [String(i + 1), () => give("artifact", kind)])),
  };
  document.addEventListener("keydown", event => {
    const target = event.target;
    if (find("keys").open || target.matches("input, select") || event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key !== "z") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!Object.hasOwn(keys, key)) return;
    /* A focused button is pressed by the space bar. */
    if (key === " " && target.matches("button")) return;
    if (!sheet && (key === "ArrowUp" || key === "ArrowDown")) return;
    event.preventDefault();
    keys[key]();
  });
  window.addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });

  restore();
  show(false);
})();
