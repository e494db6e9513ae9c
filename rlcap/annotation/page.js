"use strict";
// Captions come from files and are only ever set as textContent.

const byId = (id) => document.getElementById(id);
const KEYS = {
  ArrowLeft: "left", a: "left", ArrowRight: "right", d: "right", ArrowDown: "tie", t: "tie", ArrowUp: "skip", s: "skip",
  Backspace: "undo", u: "undo",
};
const SAID = { left: "Saved: left", right: "Saved: right", tie: "Saved: tie", skip: "Skipped", undo: "Taken back" };

// Characters that turn the writing direction, so that a caption would not read as it is written.
const UNSEEN = /[\u202a-\u202e\u2066-\u2069]/g;

let state = null;
let busy = false;
let visible = false; // the picture of the question, or the word that there is none
let seconds = 0; // that the question was looked at, without the time the page was hidden
let since = null;

function tabName() {
  const fresh = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const known = sessionStorage.getItem("tab");
    if (known) return known;
    sessionStorage.setItem("tab", fresh);
  } catch (error) {
    console.info("no session storage: after a reload this counts as another tab");
  }
  return fresh;
}
const tab = tabName();

function look() {
  if (since !== null) seconds += (performance.now() - since) / 1000;
  since = visible && !document.hidden ? performance.now() : null;
}

function complain(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
}

async function send(path, body) {
  if (busy) return;
  busy = true;
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ tab, ...body }),
      redirect: "error",
    });
    const reply = await response.json();
    complain(reply.error);
    byId("said").textContent = reply.error ? "" : SAID[body.answer || path] || "";
    draw(reply.state);
  } catch (error) {
    complain("There is no answer, so nothing was saved: is rlcap annotate still running? Reload this page when it is.");
  } finally {
    busy = false;
  }
}

function act(action) {
  if (!state || busy) return;
  if (action === "undo") {
    if (state.undo !== null) send("undo", { number: state.undo });
  } else if (state.question && (visible || action === "skip")) {
    look();
    send("answer", { number: state.question.number, answer: action, seconds: Math.min(seconds, 86400) });
  }
}

function draw(next) {
  const before = state && state.question;
  state = next;
  const question = state.question;
  byId("asking").hidden = byId("skip").hidden = byId("tie").hidden = !question;
  byId("finished").hidden = Boolean(question);
  byId("actions").hidden = false;
  byId("undo").setAttribute("aria-disabled", String(state.undo === null));
  byId("bar").value = (state.judged + state.skipped) / state.total;
  byId("progress").textContent = progress();
  if (question && !(before && before.number === question.number)) ask(question);
  if (!question) {
    visible = false;
    look();
    byId("finished-text").textContent =
      `${state.judged} of ${state.total} pairs are judged and saved in ${state.file}.` +
      (state.skipped ? ` ${state.skipped} were skipped; they are asked again at the next start.` : "") +
      " End rlcap annotate with Ctrl-C in its terminal.";
    if (before) byId("finished-title").focus();
  }
}

function ask(question) {
  visible = false;
  look();
  seconds = 0;
  for (const side of ["left", "right"]) {
    const text = byId(`${side}-text`);
    text.classList.toggle("empty", !question[side].trim());
    text.textContent = question[side].trim() ? question[side].replace(UNSEEN, "\ufffd") : "no words at all";
    text.scrollTop = 0;
  }
  const picture = byId("picture");
  picture.hidden = true;
  byId("missing").hidden = true;
  picture.alt = `Image ${question.image}`;
  if (question.pictured) picture.src = `image/${question.number}`;
  else {
    picture.removeAttribute("src");
    missing("was not found");
  }
}

function missing(why) {
  if (!state.question) return;
  byId("picture").hidden = true;
  byId("missing").textContent = `Image ${state.question.image} ${why}. Judge the captions by themselves, or skip.`;
  byId("missing").hidden = false;
  ready();
}

function ready() {
  visible = true;
  look();
}

function progress() {
  const parts = [`${state.judged} of ${state.total}`];
  if (state.skipped) parts.push(`${state.skipped} skipped`);
  if (state.per_minute !== null) parts.push(`${state.per_minute < 9.5 ? state.per_minute.toFixed(1) : Math.round(state.per_minute)} per minute`);
  if (state.seconds_left !== null && state.question) parts.push(`${duration(state.seconds_left)} left`);
  return parts.join(" · ");
}

function duration(time) {
  const minutes = Math.ceil(time / 60);
  return minutes < 2 ? "about a minute" : minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

byId("picture").addEventListener("load", () => {
  byId("picture").hidden = false;
  ready();
});
byId("picture").addEventListener("error", () => missing("cannot be shown"));
for (const action of ["left", "right", "tie", "skip", "undo"]) byId(action).addEventListener("click", () => act(action));
document.addEventListener("visibilitychange", look);
document.addEventListener("keydown", (event) => {
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || !byId("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.repeat) act(action); // a key held down judges once
});
send("state", {});
