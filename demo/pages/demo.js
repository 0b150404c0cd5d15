// What makes the pages tick.  All of them work without it.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

let token = $('meta[name="csrf"]').content;

async function post(url, fields) {
  const body = new URLSearchParams({ csrf_token: token, ...fields });
  const answer = await fetch(url, { method: "POST", credentials: "include", body });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.json();
}

async function get(url) {
  const answer = await fetch(url, { credentials: "include" });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.json();
}

// -- clocks: they show what is left, and ask nobody, for that would move them ----------------------------------------

function words(seconds) {
  const total = Math.max(0, Math.ceil(seconds));
  const units = [["day", 86400, 3600, "h"], ["hour", 3600, 60, "min"], ["minute", 60, 1, "s"]];
  for (const [unit, length, smaller, short] of units) {
    if (total < length) continue;
    const count = Math.floor(total / length), rest = Math.floor((total % length) / smaller);
    return `${count} ${unit}${count > 1 ? "s" : ""}${rest ? ` ${rest} ${short}` : ""}`;
  }
  return `${total} second${total === 1 ? "" : "s"}`;
}

function tick(clock, ahead) {
  const rest = Math.max(0, Number(clock.dataset.end) - Date.now() / 1000 - ahead);
  $("progress", clock).value = rest;
  $(".left", clock).textContent = rest > 0 ? `${words(rest)} left` : "over: load the page again";
  clock.classList.toggle("is-over", rest === 0);
}

const clocks = $("#clocks-now");
if (clocks) {
  const ahead = Number(clocks.dataset.now) - Date.now() / 1000;
  const all = () => $$(".clock", clocks).forEach((clock) => tick(clock, ahead));
  all();
  setInterval(all, 1000);
}

// -- the race: every request is one of this browser's, to each framework in turn --------------------------------------

const race = $("#lab-race");

function draw(mode, kept, answered, over) {
  $$("i", $(".cells", mode)).forEach((cell, number) => {
    const state = kept.has(String(number)) ? "kept" : answered.has(number) ? "lost" : "sent";
    cell.className = state;
  });
  const lost = [...answered].filter((number) => !kept.has(String(number))).length;
  mode.classList.toggle("has-lost", lost > 0);
  const said = over
    ? `${kept.size} of ${race.dataset.count} kept, the counter is at ${over.counter}: ${lost || "nothing"} lost, in ${over.seconds} s`
    : `${answered.size} answered`;
  $(".result", mode).textContent = said;
  $(".cells", mode).setAttribute("aria-label", `${$("h3", mode).textContent}: ${said}`);
  return said;
}

async function follow(mode, answered, all) {
  let running = true;
  all.finally(() => { running = false; }).catch(() => {});
  while (running) {
    const seen = new Set(answered);
    draw(mode, new Set((await get("/lab/state")).keys), seen);
    await pause(120);
  }
}

async function run(mode, origins) {
  token = (await post("/lab/begin", {})).csrf;
  const answered = new Set(), began = performance.now();
  const all = Promise.all(Array.from({ length: Number(race.dataset.count) }, async (_, n) => {
    await post(`${origins[n % origins.length]}/lab/add`, { mode: mode.dataset.mode, n });
    answered.add(n);
  }));
  const following = follow(mode, answered, all);
  await all;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  await following;
  const found = await get("/lab/state");
  return draw(mode, new Set(found.keys), answered, { ...found, seconds });
}

async function runRace() {
  const origins = race.dataset.ports.split(" ").map((port) => `http://${location.hostname}:${port}`);
  const said = $(".said", race), results = [];
  said.textContent = "The requests are under way.";
  for (const mode of $$(".mode", race)) results.push(`${$("h3", mode).textContent}: ${await run(mode, origins)}.`);
  $$('input[name="csrf_token"]').forEach((field) => { field.value = token; });
  said.textContent = results.join(" ");
}

// -- the other two: the server is the browser, and tells what happens while it does ------------------------------------

async function runSteps(form) {
  const list = $(".steps", form.closest(".lab"));
  const { id } = await post("/lab/run", { ...Object.fromEntries(new FormData(form)), for: "script" });
  list.textContent = "";
  for (let over = false; !over;) {
    const told = await get(`/lab/run.json?id=${encodeURIComponent(id)}`);
    told.steps.slice(list.children.length).forEach((step) => list.append(drawn(step)));
    over = told.over;
    if (over) list.append(item("verdict", told.verdict));
    else await pause(100);
  }
}

function item(kind, text) {
  const li = document.createElement("li");
  li.className = kind;
  li.textContent = text;
  return li;
}

function drawn({ at, where, text, kind }) {
  const li = item(kind, ` ${text}`), time = document.createElement("span"), place = document.createElement("b");
  time.className = "at";
  time.textContent = at;
  place.textContent = where;
  li.prepend(time, place);
  return li;
}

$$(".run").forEach((form) => form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("button", form), lab = form.closest(".lab");
  button.disabled = true;
  try {
    await (lab === race ? runRace() : runSteps(form));
  } catch (error) {
    $(".said, .steps", lab).textContent = `It did not work: ${error.message}. Load the page again.`;
  }
  button.disabled = false;
}));
