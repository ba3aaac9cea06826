// Fetches the parts of a page that an event concerns anew, and puts them in their place.

import { morph } from "./morph.js";
import { showTimes } from "./times.js";
import { toLogin } from "./login.js";

const GATHER_MS = 120;
const REST_MS = 700;
// A page that takes long to make is asked for less often: one open page uses at most a tenth of the server's time.
const REST_FACTOR = 9;
// Progress within a job comes without events; the growing log is the hint to look at it again.
const PROGRESS_MS = 3000;

/** Returns refresh(names): fetch these fragments (all when absent) at once. */
export function watchFragments(stream) {
  const dirty = new Set();
  let timer = 0;
  let running = false;
  let last = 0;
  let rest = REST_MS;

  function concerned(kind) {
    const origin = kind.split(".")[0];
    return [...document.querySelectorAll("[data-fragment][data-on]")]
      .filter((each) => each.dataset.on === "*" || each.dataset.on.split(" ").includes(origin))
      .map((each) => each.dataset.fragment);
  }

  function later(names, pause) {
    for (const name of names) dirty.add(name);
    if (dirty.size && !timer && !running) timer = setTimeout(flush, pause);
  }

  async function flush() {
    timer = 0;
    if (running || !dirty.size) return;
    running = true;
    const names = [...dirty];
    const began = Date.now();
    dirty.clear();
    try {
      await load(names);
    } catch {
      for (const name of names) dirty.add(name);
    }
    last = Date.now();
    rest = Math.max(REST_MS, REST_FACTOR * (last - began));
    running = false;
    later([], rest);
  }

  stream.addEventListener("event", ({ detail }) => {
    if (detail.kind !== "job.log") later(concerned(detail.kind), Math.max(GATHER_MS, last + rest - Date.now()));
    else if (Date.now() - last > PROGRESS_MS) later(progressing(), GATHER_MS);
  });
  // After a break anything may have changed, also what no event told of.
  let broken = false;
  stream.addEventListener("state", ({ detail }) => {
    if (detail === "on" && broken) later(all(), GATHER_MS);
    broken = detail !== "on";
  });
  // What changes all the time tells no events of it.
  setInterval(() => document.hidden || later(everChanging(), GATHER_MS), PROGRESS_MS);
  return (names = all()) => {
    clearTimeout(timer);
    timer = 0;
    for (const name of names) dirty.add(name);
    return flush();
  };
}

function all() {
  return [...document.querySelectorAll("[data-fragment]")].map((each) => each.dataset.fragment);
}

function everChanging() {
  return [...document.querySelectorAll("[data-fragment][data-again]")].map((each) => each.dataset.fragment);
}

function progressing() {
  return [...document.querySelectorAll("[data-progress]")]
    .map((each) => each.closest("[data-fragment]")?.dataset.fragment)
    .filter(Boolean);
}

async function load(names) {
  const url = new URL(location.href);
  url.hash = "";
  url.searchParams.set("fragment", names.join(","));
  const response = await fetch(url, { cache: "no-store" });
  if (response.status === 401) return toLogin();
  if (response.status === 404) return location.reload();
  if (!response.ok) throw new Error(`${response.status}`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of fresh.querySelectorAll("[data-fragment]")) {
    const old = document.querySelector(`[data-fragment="${CSS.escape(part.dataset.fragment)}"]`);
    if (old) morph(old, part);
  }
  showTimes();
  document.dispatchEvent(new CustomEvent("refreshed"));
}
