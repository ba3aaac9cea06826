// Short words about what was just done, in a corner; bad ones stay until they are closed.

const GONE_MS = 7000;
const KEPT = "notice";

/** Say it on the next page. */
export function notifyLater(text, tone) {
  sessionStorage.setItem(KEPT, JSON.stringify([text, tone]));
}

/** Say what the last page left to be said. */
export function showKeptNotice() {
  const kept = sessionStorage.getItem(KEPT);
  if (!kept) return;
  sessionStorage.removeItem(KEPT);
  notify(...JSON.parse(kept));
}

/** `tone` is good, plain or bad. */
export function notify(text, tone) {
  const notice = document.createElement("div");
  notice.className = `notice ${tone}`;
  notice.dataset.testid = `notice-${tone}`;
  if (tone === "bad") notice.setAttribute("role", "alert");
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.className = "quiet";
  close.type = "button";
  close.textContent = "✕";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => notice.remove());
  notice.append(words, close);
  document.querySelector("#notices").append(notice);
  if (tone !== "bad") setTimeout(() => notice.remove(), GONE_MS);
}
