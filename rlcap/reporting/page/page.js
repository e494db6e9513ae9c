"use strict";

// Without this script, and on paper, all is there in one order. Text of run folders is only ever set as text.

// Switches: one of several ways to show the same thing; switches of one name change together.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-switch]");
  if (!button) return;
  const { switch: name, choice } = button.dataset;
  for (const other of document.querySelectorAll(`button[data-switch="${name}"]`)) {
    other.setAttribute("aria-pressed", String(other.dataset.choice === choice));
  }
  for (const panel of document.querySelectorAll(`[data-panel="${name}"]`)) {
    panel.hidden = panel.dataset.choice !== choice;
  }
});

// Tables: a heading sorts the rows by its column, once more the other way, and once more as they were.
const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

function makeSortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const cells = rows.map((row) => row.cells[column]);
    const numeric = cells.some((cell) => cell.dataset.sort !== undefined);
    const keys = new Map(rows.map((row, place) => {
      const { sort } = cells[place].dataset;
      return [row, numeric ? (sort === undefined ? NaN : Number(sort)) : cells[place].textContent.trim()];
    }));
    const missing = (row) => Number.isNaN(keys.get(row)) || keys.get(row) === "–";
    const orders = numeric ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = orders[(orders.indexOf(head.getAttribute("aria-sort") || "") + 1) % 3];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (order) head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const compare = (one, two) => numeric ? keys.get(one) - keys.get(two) : inOrder(keys.get(one), keys.get(two));
      const sorted = order === "" ? rows : [...rows].sort((one, two) =>
        missing(one) - missing(two) || (missing(one) ? 0 : sign * compare(one, two)));
      body.append(...sorted);
    });
  });
}
document.querySelectorAll("table.sortable").forEach(makeSortable);

// The gallery.

const COMPARED = 300; // words, as where the page was written
const AT_ONCE = 12; // cards, so that what stands below the gallery is not far

// Whether each word has no counterpart in the other caption: the longest common subsequence.
function differing(words, others) {
  const rows = Math.min(words.length, COMPARED), columns = Math.min(others.length, COMPARED);
  const common = Array.from({ length: rows + 1 }, () => new Uint16Array(columns + 1));
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      common[i][j] = words[i] === others[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const differs = words.map((_, place) => place < rows);
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (words[i] === others[j]) { differs[i] = false; i++; j++; }
    else if (common[i + 1][j] >= common[i][j + 1]) i++;
    else j++;
  }
  return differs;
}

// Set the words of a caption anew, neighbours that differ within one mark.
function mark(caption, words, differs) {
  caption.replaceChildren();
  for (let start = 0; start < words.length;) {
    let end = start;
    while (end < words.length && differs[end] === differs[start]) end++;
    const piece = document.createElement(differs[start] ? "mark" : "span");
    piece.textContent = words.slice(start, end).join(" ");
    caption.append(...(start ? [" "] : []), piece);
    start = end;
  }
}

function shuffle(items) {
  for (let last = items.length - 1; last > 0; last--) {
    const place = Math.floor(Math.random() * (last + 1));
    [items[last], items[place]] = [items[place], items[last]];
  }
}

function startGallery(gallery) {
  const better = Number(gallery.dataset.better);
  const controls = gallery.querySelector(".controls");
  const [field, again] = ["find", "again"].map((name) => controls.querySelector(`[data-control=${name}]`));
  const selects = Object.fromEntries([...controls.querySelectorAll("select")].map((one) => [one.dataset.control, one]));
  const toggles = [...controls.querySelectorAll("button[data-method]")];
  const shelf = gallery.querySelector(".cards");
  const further = gallery.querySelector(".further");
  let most = AT_ONCE;
  const value = (name, otherwise) => (selects[name] ? selects[name].value : otherwise);

  const cards = [...shelf.children].map((element) => {
    const lines = new Map([...element.querySelectorAll(".line")].map((line) => {
      const caption = line.querySelector(".caption");
      const words = caption.textContent.split(" ").filter(Boolean);
      const score = line.dataset.score === undefined ? NaN : Number(line.dataset.score);
      return [line.dataset.method, { line, caption, words, score, text: caption.textContent.toLowerCase() }];
    }));
    const references = [...element.querySelectorAll(".references li")].map((one) => one.textContent.toLowerCase());
    return { element, lines, references, place: Number(element.dataset.place), id: element.dataset.id,
             disagreement: Number(element.dataset.disagreement) };
  });
  const score = (card, method) => card.lines.get(method).score;

  function gain(card) {
    return better * (score(card, value("method")) - score(card, value("other")));
  }

  const keys = {
    gain: (card) => -gain(card),
    loss: gain,
    score: (card) => -score(card, value("method")),
    low: (card) => score(card, value("method")),
    disagreement: (card) => card.disagreement,
  };

  function sort() {
    const order = value("sort");
    if (order === "random") shuffle(cards);
    else if (order === "id") cards.sort((one, two) => inOrder(one.id, two.id) || one.place - two.place);
    else if (order === "chosen") cards.sort((one, two) => one.place - two.place);
    else {
      const key = new Map(cards.map((card) => [card, keys[order](card)]));
      const missing = (card) => Number.isNaN(key.get(card));
      cards.sort((one, two) => missing(one) - missing(two) || key.get(one) - key.get(two) || one.place - two.place);
    }
    shelf.append(...cards.map((card) => card.element));
  }

  function fits(card) {
    const needle = field.value.trim().toLowerCase().replace(/\s+/g, " ");
    const texts = [...card.lines.values()].filter((one) => !one.line.hidden).map((one) => one.text);
    if (needle && ![...texts, ...card.references].some((text) => text.includes(needle))) return false;
    const kept = value("kept", "all");
    if (kept === "gain") return gain(card) > 0;
    if (kept === "loss") return gain(card) < 0;
    return kept !== "words" || card.lines.get(value("method")).text !== card.lines.get(value("other")).text;
  }

  function filter() {
    for (const toggle of toggles) {
      const hidden = toggle.getAttribute("aria-pressed") === "false";
      const own = `[data-method="${toggle.dataset.method}"]`;
      for (const card of cards) card.element.querySelectorAll(own).forEach((part) => { part.hidden = hidden; });
    }
    const left = cards.filter(fits);
    const open = new Set(left.slice(0, most));
    for (const card of cards) card.element.hidden = !open.has(card);
    further.hidden = left.length <= most;
    further.textContent = `Show ${Math.min(left.length - most, 4 * AT_ONCE)} more`;
    const cut = further.hidden ? "" : `, the first ${most} shown`;
    controls.querySelector("output").textContent = `${left.length} of ${cards.length} images${cut}`;
    gallery.querySelector(".nothing").hidden = left.length > 0;
    const current = left.find((card) => card.element === document.activeElement) || left[0];
    for (const card of cards) card.element.tabIndex = card === current ? 0 : -1;
  }

  function showMore() {
    const next = cards.filter(fits)[most];
    most += 4 * AT_ONCE;
    filter();
    next.element.tabIndex = -1;
    next.element.focus();
  }

  // Gains and marked words against another method: those of its own captions against the method that is looked at.
  function compare() {
    const [method, other] = [value("method"), value("other")];
    for (const { lines } of cards) {
      const against = lines.get(other);
      for (const [own, one] of lines) {
        mark(one.caption, one.words, differing(one.words, own === other ? lines.get(method).words : against.words));
        one.line.classList.toggle("later", own !== other);
        const shown = one.line.querySelector(".gain");
        if (!shown) continue;
        const difference = own === other ? NaN : one.score - against.score;
        const kind = difference ? (better * difference > 0 ? "better" : "worse") : "same";
        shown.className = `gain ${kind}`;
        shown.textContent = Number.isNaN(difference) ? ""
          : (difference < 0 ? "−" : "+") + Math.abs(difference).toLocaleString("en-US",
            { minimumFractionDigits: 3, maximumFractionDigits: 3 });
      }
    }
  }

  controls.addEventListener("input", (event) => {
    const { control } = event.target.dataset;
    if (control === "method" || control === "other") compare();
    if (control !== "find" && control !== "kept") sort();
    most = AT_ONCE;
    filter();
  });
  toggles.forEach((toggle) => toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-pressed", String(toggle.getAttribute("aria-pressed") === "false"));
    filter();
  }));
  again.addEventListener("click", () => {
    field.value = "";
    toggles.forEach((toggle) => toggle.setAttribute("aria-pressed", "true"));
    for (const select of Object.values(selects)) {
      select.value = [...select.options].find((option) => option.defaultSelected)?.value ?? select.options[0].value;
    }
    if (selects.other) compare();
    sort();
    most = AT_ONCE;
    filter();
  });
  further.addEventListener("click", showMore);

  const steps = { ArrowRight: 1, ArrowDown: 1, j: 1, ArrowLeft: -1, ArrowUp: -1, k: -1 };
  shelf.addEventListener("keydown", (event) => {
    const card = event.target;
    if (card.parentElement !== shelf || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const left = [...shelf.children].filter((one) => !one.hidden);
    const ends = { Home: left[0], End: left[left.length - 1] };
    const next = ends[event.key] || left[left.indexOf(card) + steps[event.key]];
    const references = event.key === "Enter" && card.querySelector(".references");
    if (references) references.open = !references.open;
    else if (!next && steps[event.key] > 0 && !further.hidden) showMore();
    else if (next) {
      card.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else return;
    event.preventDefault();
  });

  controls.hidden = false;
  filter();
}
document.querySelectorAll(".gallery").forEach(startGallery);
