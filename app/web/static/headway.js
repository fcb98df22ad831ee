/* What a page does by itself. Without this file every page works the same, a press at a time.

   data-live="URL" data-events="URL"  on an element: what is in it changes while something goes on. The
       URL answers the parts of it anew, elements with `data-part` and an id; those that differ are
       replaced, at most once a second. `data-events` tells when to ask, as server-sent events; where
       there are none, or they are refused, it is asked now and then.
   data-stage="…" data-says="…"       on one of the parts: where it stands, and that in a sentence
   data-goes-on                       on the same part, while something more happens by itself
   data-announce                      an element with aria-live, which is told each new stage, alone
   data-grid="URL" data-columns data-each   on an SVG: a press on a cell leads to `URL?place=…`
   data-redraw="URL"                  on a form: while it is filled in, its values are posted to the URL,
       whose answer has the parts to show, when nothing was typed for a moment
   data-check-all="name" hidden       on a checkbox: shown, and checks all others of this name */
"use strict";

const LEAST = 1000; // between two questions
const SLOWLY = 4000; // where nobody tells when to ask
const IDLE = 15000; // while nothing happens unless a person does something
const PAUSE = 400; // after the last key, before what was typed is drawn

class Live {
  constructor(place) {
    this.place = place;
    this.shown = new Map(this.parts(place).map((part) => [part.id, part.outerHTML]));
    this.stage = this.standing().dataset.stage;
    this.asking = false;
    this.asked = 0;
    this.pause = LEAST;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.ask()));
    window.addEventListener("pagehide", () => this.rest());
    window.addEventListener("pageshow", (event) => event.persisted && this.ask());
    this.later(this.goesOn() ? 0 : IDLE);
  }

  parts(within) {
    return [...within.querySelectorAll("[data-part]")];
  }

  standing() {
    return this.place.querySelector("[data-stage]");
  }

  goesOn() {
    return "goesOn" in this.standing().dataset;
  }

  /* Ask once, not sooner than a second after the last time, nor so often that it is all the server does. */
  later(wait) {
    if (document.hidden) return;
    const at = Math.max(performance.now() + wait, this.asked + this.pause);
    if (this.timer && this.due <= at) return;
    clearTimeout(this.timer);
    this.due = at;
    this.timer = setTimeout(() => this.ask(), at - performance.now());
  }

  async ask() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.asking) return;
    this.asking = true;
    const began = performance.now();
    try {
      const answer = await fetch(this.place.dataset.live, { headers: { Accept: "text/html" } });
      if (answer.redirected) return location.reload(); // the session has ended: sign in again
      if (answer.ok) this.show(await answer.text());
    } catch {
      // the server is away: it is asked again
    } finally {
      this.asking = false;
    }
    this.asked = performance.now();
    this.pause = Math.max(LEAST, 5 * (this.asked - began));
    this.listen();
    this.later(this.events ? IDLE : this.goesOn() ? SLOWLY : IDLE);
  }

  listen() {
    if (this.events || document.hidden || !this.goesOn() || !this.place.dataset.events) return;
    const events = new EventSource(this.place.dataset.events);
    this.events = events;
    events.addEventListener("progress", () => this.later(0));
    events.addEventListener("end", () => {
      this.deafen();
      this.later(0);
    });
    events.addEventListener("error", () => {
      if (events.readyState === EventSource.CLOSED) this.deafen(); // refused: too many follow
    });
  }

  deafen() {
    this.events?.close();
    this.events = null;
  }

  /* A page that nobody looks at takes no place from others. */
  rest() {
    clearTimeout(this.timer);
    this.timer = null;
    this.deafen();
  }

  show(text) {
    const fresh = document.createElement("template");
    fresh.innerHTML = text;
    for (const part of this.parts(fresh.content)) {
      const html = part.outerHTML;
      if (html === this.shown.get(part.id)) continue;
      this.shown.set(part.id, html);
      if ("stage" in part.dataset) unsay();
      const old = document.getElementById(part.id);
      if (old) replace(old, part);
    }
    const { stage, says } = this.standing().dataset;
    if (stage !== this.stage) {
      this.stage = stage;
      const announced = document.querySelector("[data-announce]");
      if (announced) announced.textContent = says;
    }
  }
}

/* What was said of the last press, as "Started.", is true no longer. */
function unsay() {
  document.querySelectorAll("main > .flash[role=status]").forEach((said) => said.remove());
}

/* Put one in the place of the other; what was open, focused and scrolled stays so. */
function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  for (const details of old.querySelectorAll("details[open][id]")) {
    const again = fresh.querySelector(`#${CSS.escape(details.id)}`);
    if (again) again.open = true;
  }
  const scrolled = [...old.querySelectorAll("[id]")].filter((one) => one.scrollLeft || one.scrollTop);
  const places = scrolled.map((one) => [one.id, one.scrollLeft, one.scrollTop]);
  old.replaceWith(fresh);
  for (const [id, left, top] of places) document.getElementById(id)?.scrollTo(left, top);
  if (focused) (document.getElementById(focused) ?? document.getElementById("main"))?.focus({ preventScroll: true });
}

/* A form that shows what it would make while it is filled in. */
class Redrawn {
  constructor(form) {
    this.form = form;
    this.pause = PAUSE;
    this.asked = 0; // the number of the last question: an answer to an earlier one comes too late
    form.addEventListener("input", () => this.later());
    this.ask();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), this.pause);
  }

  async ask() {
    const number = ++this.asked;
    const began = performance.now();
    try {
      const answer = await fetch(this.form.dataset.redraw, { method: "POST", body: new FormData(this.form) });
      if (!answer.ok || answer.redirected || number !== this.asked) return;
      const fresh = document.createElement("template");
      fresh.innerHTML = await answer.text();
      for (const part of fresh.content.querySelectorAll("[data-part]")) {
        const old = document.getElementById(part.id);
        if (old && old.outerHTML !== part.outerHTML) replace(old, part);
      }
    } catch {
      // the server is away: the next change asks again
    }
    this.pause = Math.max(PAUSE, 5 * (performance.now() - began));
  }
}

/* The place of the cell under the pointer; the link that it is in leads to all in the same state. */
function cellUnder(grid, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(grid.getScreenCTM().inverse());
  const columns = Number(grid.dataset.columns);
  return (Math.floor(point.y) * columns + Math.floor(point.x)) * Number(grid.dataset.each);
}

document.addEventListener("click", (event) => {
  const grid = event.target.closest?.("[data-grid]");
  const isPress = event.detail > 0 && event.button === 0; // a key on the link has no place
  if (!grid || !isPress || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  location.assign(`${grid.dataset.grid}?place=${cellUnder(grid, event)}`);
});

for (const all of document.querySelectorAll("[data-check-all]")) {
  const others = [...document.querySelectorAll(`input[type=checkbox][name="${all.dataset.checkAll}"]`)];
  const settle = () => {
    const checked = others.filter((one) => one.checked).length;
    all.checked = checked > 0 && checked === others.length;
    all.indeterminate = checked > 0 && checked < others.length;
  };
  all.hidden = false;
  all.addEventListener("change", () => others.forEach((one) => (one.checked = all.checked)));
  others.forEach((one) => one.addEventListener("change", settle));
  settle();
}

for (const place of document.querySelectorAll("[data-live]")) new Live(place);
for (const form of document.querySelectorAll("[data-redraw]")) new Redrawn(form);
