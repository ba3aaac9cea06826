// <secret-value url>: a value that is hidden until it is asked for, and hidden again a little later.

import { busy, call } from "./forms.js";
import { notify } from "./notices.js";

const SHOWN_MS = 60_000;

export function defineSecret() {
  class SecretValue extends HTMLElement {
    #hidden = null;
    #timer = 0;

    connectedCallback() {
      this.addEventListener("submit", (event) => {
        event.preventDefault();
        this.#reveal(event.submitter);
      });
    }

    disconnectedCallback() {
      clearTimeout(this.#timer);
    }

    async #reveal(button) {
      await busy(button, async () => {
        try {
          this.#show(await call("GET", this.getAttribute("url")));
        } catch (error) {
          notify(error.message, "bad");
        }
      });
    }

    #show(value) {
      const text = document.createElement("pre");
      text.className = "value secret";
      text.dataset.testid = "secret-value";
      text.textContent = typeof value === "string" ? value : JSON.stringify(value, null, 2);
      const hide = document.createElement("button");
      hide.type = "button";
      hide.className = "button small";
      hide.dataset.testid = "hide";
      hide.textContent = "Hide";
      hide.addEventListener("click", () => this.#hide());
      this.#hidden = [...this.childNodes];
      this.replaceChildren(text, hide);
      hide.focus();
      this.#timer = setTimeout(() => this.#hide(), SHOWN_MS);
    }

    #hide() {
      clearTimeout(this.#timer);
      if (this.#hidden) this.replaceChildren(...this.#hidden);
      this.#hidden = null;
      this.querySelector("button")?.focus();
    }
  }
  customElements.define("secret-value", SecretValue);
}
