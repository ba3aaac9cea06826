// The server's events, resumed where they broke off. A hidden page lets go of its connection: browsers grant six to a
// site, and forgotten tabs must not use them up.

import { loggedIn, toLogin } from "./login.js";

const HIDDEN_MS = 20_000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15_000];

export class EventStream extends EventTarget {
  #url;
  #last;
  #source = null;
  #retries = 0;
  #timer = 0;

  constructor(url, last) {
    super();
    this.#url = url;
    this.#last = last;
  }

  start() {
    if (!this.#url) return;
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#open());
    this.#open();
  }

  #visibility() {
    clearTimeout(this.#timer);
    if (document.hidden) this.#timer = setTimeout(() => this.#close(), HIDDEN_MS);
    else if (!this.#source) this.#open();
  }

  #open() {
    this.#close();
    const url = new URL(this.#url, location.href);
    if (Number(this.#last)) url.searchParams.set("after", this.#last);
    const source = new EventSource(url);
    this.#source = source;
    source.onopen = () => {
      this.#retries = 0;
      this.#tell("on");
    };
    source.onmessage = (message) => this.#hear(message);
    source.onerror = () => {
      this.#tell("wait");
      if (source.readyState === EventSource.CLOSED) this.#again();
    };
  }

  #hear(message) {
    if (message.lastEventId) this.#last = message.lastEventId;
    this.dispatchEvent(new CustomEvent("event", { detail: JSON.parse(message.data) }));
  }

  async #again() {
    this.#close();
    const pause = RETRY_MS[Math.min(this.#retries, RETRY_MS.length - 1)];
    this.#retries += 1;
    if ((await loggedIn()) === false) return toLogin();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), pause);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #tell(state) {
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
    const light = document.querySelector("[data-live]");
    if (!light || light.dataset.live === state) return;
    light.dataset.live = state;
    light.querySelector("[data-live-word]").textContent = state === "on" ? "live" : "reconnecting";
  }
}
