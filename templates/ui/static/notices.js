// Short words about what was just done, in a corner; bad ones stay until they are closed.

const GONE_MS = 7000;

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
