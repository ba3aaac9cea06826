// <job-log job state start size at>: a job's log, live; with `at` it opens at the line there. It follows the end unless the reader scrolled up. Of a long log
// the end comes first; the rest is fetched piece by piece when asked for.

import { Terminal } from "./ansi.js";
import { toLogin } from "./login.js";

const TAIL_BYTES = 192 << 10;
const PIECE_BYTES = 512 << 10;
const CHUNK_LINES = 200;
const NEAR_END_PX = 40;
const RETRY_MS = 2000;
const FINAL = new Set(["finished", "failed", "abandoned", "cancelled"]);

export function defineLog(stream) {
  class JobLog extends HTMLElement {
    static observedAttributes = ["job", "state"];
    #text;
    #tools;
    #follow;
    #offset = 0;
    #paged = false;
    #whole = true;
    #loading = false;
    #news = false;
    #decoder;
    #terminal;
    #chunk;
    #open;
    #run = 0;
    #following = true;
    #top = 0;

    connectedCallback() {
      if (!this.#text) this.#build();
      stream.addEventListener("event", this.#heard);
      stream.addEventListener("state", this.#resumed);
      if (this.hasAttribute("at")) this.#beginAt(Number(this.getAttribute("start")), Number(this.getAttribute("at")));
      else this.#beginAtEnd();
    }

    disconnectedCallback() {
      this.#run += 1;
      stream.removeEventListener("event", this.#heard);
      stream.removeEventListener("state", this.#resumed);
    }

    attributeChangedCallback(name, old, value) {
      if (!this.#text || old === null || old === value) return;
      // The attributes of another job arrive one after the other.
      if (name === "job") queueMicrotask(() => this.#beginAtEnd());
      else this.#load();
    }

    get #job() {
      return this.getAttribute("job");
    }

    get #final() {
      return FINAL.has(this.getAttribute("state"));
    }

    #heard = ({ detail }) => {
      if (detail.key !== this.#job) return;
      if (detail.kind === "job.end") this.setAttribute("state", detail.data.state ?? "finished");
      if (detail.kind === "job.log") this.#load();
    };

    #resumed = ({ detail }) => detail === "on" && this.#load();

    #build() {
      this.#text = this.querySelector("pre");
      this.#tools = make("div", "log-tools");
      this.#follow = make("button", "log-follow", "↓ Follow");
      this.#follow.type = "button";
      this.#follow.hidden = true;
      this.#follow.addEventListener("click", () => this.#toEnd());
      this.#text.addEventListener("scroll", () => this.#scrolled(), { passive: true });
      this.prepend(this.#tools);
      this.append(this.#follow);
    }

    #beginAtEnd() {
      this.#begin(Math.max(0, Number(this.getAttribute("size")) - TAIL_BYTES));
    }

    /** Show the log from `start`, which begins a line, with the line that has the byte `place` in view. */
    async #beginAt(start, place) {
      this.#clear(start, true);
      this.#showTools(start, true);
      const run = this.#run;
      this.#loading = true;
      if (place > start) await this.#piece(run, place - start);
      const before = this.#text.querySelectorAll(".log-chunk .log-line").length;
      const more = run === this.#run && (await this.#piece(run));
      if (run !== this.#run) return;
      this.#loading = false;
      const line = this.#text.querySelectorAll(".log-line")[before];
      line?.classList.add("log-hit");
      line?.scrollIntoView({ block: "center" });
      this.#top = this.#text.scrollTop;
      if (more || (this.#news && !this.#paged)) this.#load();
    }

    /** Show the log from this byte on; 0 is all of it, in pieces. */
    #begin(offset) {
      this.#clear(offset, offset === 0 && Number(this.getAttribute("size")) > TAIL_BYTES);
      this.#whole = offset === 0;
      this.#following = offset > 0 || !this.#paged;
      this.#showTools(offset);
      this.#load();
    }

    #clear(offset, paged) {
      this.#run += 1;
      this.#loading = this.#news = false;
      this.#offset = offset;
      this.#paged = paged;
      this.#whole = true;
      this.#decoder = new TextDecoder();
      this.#terminal = new Terminal();
      this.#text.replaceChildren();
      this.#chunk = null;
      this.#open = null;
      this.#following = false;
      this.#top = 0;
    }

    #showTools(offset, placed = false) {
      const size = Number(this.getAttribute("size"));
      this.#tools.replaceChildren();
      this.#tools.hidden = size <= TAIL_BYTES;
      if (placed) this.#tools.append(make("span", "", `At the line that was found, ${bytes(size)} in all.`));
      else if (offset > 0) this.#tools.append(make("span", "", `The last ${bytes(size - offset)} of ${bytes(size)}.`));
      else this.#tools.append(make("span", "", `From the start, ${bytes(size)} in all.`));
      if (offset > 0) this.#tools.append(this.#button("Show from start", () => this.#begin(0), "log-from-start"));
      if (offset === 0 || placed) this.#tools.append(this.#button("Show the end", () => this.#begin(Math.max(0, size - TAIL_BYTES)), "log-end"));
    }

    #button(words, press, testid) {
      const button = make("button", "", words);
      button.type = "button";
      button.dataset.testid = testid;
      button.addEventListener("click", press);
      return button;
    }

    /** Fetch what there is. What comes to be while a piece is under way may not be in it, so it is fetched after that. */
    async #load() {
      this.#news = true;
      if (this.#loading) return;
      this.#loading = true;
      const run = this.#run;
      do {
        this.#news = false;
        while (run === this.#run && (await this.#piece(run)));
      } while (this.#news && !this.#paged && run === this.#run);
      if (run === this.#run) this.#loading = false;
    }

    /** One piece; true when the next one should follow at once. */
    async #piece(run, limit = PIECE_BYTES) {
      const answer = await whole(`/api/v1/jobs/${encodeURIComponent(this.#job)}/log?offset=${this.#offset}&limit=${limit}`);
      if (answer?.status === 401) toLogin();
      if (run !== this.#run) return false;
      if (!answer || answer.status >= 500) setTimeout(() => run === this.#run && this.#load(), RETRY_MS);
      if (!answer?.ok) return false;
      const { data, size } = answer;
      const first = !this.#text.childElementCount && !this.#whole;
      this.#offset += data.length;
      this.#append(this.#decoder.decode(data, { stream: true }), first);
      const rest = size > this.#offset;
      if (!rest) this.#paged = false;
      return rest && data.length > 0 && (!this.#paged || this.#nearEnd());
    }

    #append(text, cutFirstLine) {
      if (cutFirstLine) text = text.slice(text.indexOf("\n") + 1);
      const { lines, open } = this.#terminal.write(text);
      for (const line of lines) this.#line(line);
      this.#showOpen(open);
      if (!this.#text.childElementCount) this.#text.replaceChildren(make("div", "log-empty", this.#final ? "It wrote nothing." : "Nothing written yet."));
      if (this.#following && !this.#paged) this.#toEnd();
      else this.#scrolled();
    }

    #line(runs) {
      this.#text.querySelector(".log-empty")?.remove();
      this.#open?.remove();
      this.#open = null;
      if (!this.#chunk || this.#chunk.childElementCount >= CHUNK_LINES) {
        this.#chunk = make("div", "log-chunk");
        this.#text.append(this.#chunk);
      }
      this.#chunk.append(lineOf(runs));
    }

    #showOpen(runs) {
      this.#open?.remove();
      this.#open = null;
      if (!runs.length) return;
      this.#text.querySelector(".log-empty")?.remove();
      this.#open = lineOf(runs);
      this.#text.append(this.#open);
    }

    #nearEnd() {
      const { scrollHeight, scrollTop, clientHeight } = this.#text;
      return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    }

    #toEnd() {
      this.#following = true;
      this.#text.scrollTop = this.#text.scrollHeight;
      this.#follow.hidden = true;
    }

    /** Only moving up lets go of the end: the text also grows, and lines take their true height when first shown. */
    #scrolled() {
      const near = this.#nearEnd();
      if (near) this.#following = true;
      else if (this.#text.scrollTop < this.#top) this.#following = false;
      this.#top = this.#text.scrollTop;
      this.#follow.hidden = this.#following || this.#final || this.#paged;
      if (near && this.#paged) this.#load();
    }
  }
  customElements.define("job-log", JobLog);
}

/** The answer of the server with all of its body; null when it does not come. */
async function whole(path) {
  try {
    const response = await fetch(path, { cache: "no-store" });
    const data = new Uint8Array(await response.arrayBuffer());
    return { ok: response.ok, status: response.status, data, size: Number(response.headers.get("X-Log-Size")) };
  } catch {
    return null;
  }
}

function lineOf(runs) {
  const line = make("div", "log-line");
  for (const { text, classes } of runs) {
    if (classes) line.append(make("span", classes, text));
    else line.append(text);
  }
  return line;
}

function make(name, classes = "", text = "") {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  if (text) element.textContent = text;
  return element;
}

function bytes(count) {
  return count < 1e6 ? `${Math.round(count / 1000)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}
