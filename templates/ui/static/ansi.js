// Terminal output as lines of styled runs. Colours and weights (ECMA-48 SGR) are shown, a carriage return starts its
// line over as terminals do, every other control sequence is dropped. Only values come out of here, never markup.

const SEQUENCE = /\x1b(?:\[([0-9;:?<=>]*)([ -/]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])/y;
const PARTIAL = /\x1b(?:\[[0-9;:?<=>]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)?$/;
const PARTIAL_LIMIT = 4096;
const PLAIN = Object.freeze({ bold: false, dim: false, italic: false, underline: false, inverse: false, fg: -1, bg: -1 });

export class Terminal {
  #style = PLAIN;
  #rest = "";
  #cells = [];
  #column = 0;

  /** Takes text; returns the lines it finished and the line it left open, each a list of {text, classes}. */
  write(text) {
    text = this.#rest + text;
    this.#rest = "";
    const cut = text.length < PARTIAL_LIMIT ? text.search(PARTIAL) : text.slice(-PARTIAL_LIMIT).search(PARTIAL);
    if (cut >= 0) {
      const at = text.length < PARTIAL_LIMIT ? cut : text.length - PARTIAL_LIMIT + cut;
      this.#rest = text.slice(at);
      text = text.slice(0, at);
    }
    const lines = [];
    let place = 0;
    while (place < text.length) {
      const char = text[place];
      if (char === "\x1b") {
        SEQUENCE.lastIndex = place;
        const found = SEQUENCE.exec(text);
        if (found) this.#obey(found);
        place = found ? SEQUENCE.lastIndex : place + 1;
        continue;
      }
      place += 1;
      if (char === "\n") lines.push(this.#finish());
      else if (char === "\r") this.#column = 0;
      else if (char === "\b") this.#column = Math.max(0, this.#column - 1);
      else if (char === "\t" || char >= " ") place += this.#put(text, place - 1);
    }
    return { lines, open: runs(this.#cells) };
  }

  /** Writes the whole run of printable text at `start`; returns how much of it lies beyond the first character. */
  #put(text, start) {
    let end = start + 1;
    while (end < text.length && (text[end] >= " " || text[end] === "\t") && text[end] !== "\x7f") end += 1;
    const run = text.slice(start, end);
    const width = run.length;
    if (this.#column === widthOf(this.#cells)) this.#cells.push({ text: run, style: this.#style });
    else this.#cells = overwrite(this.#cells, this.#column, run, this.#style);
    this.#column += width;
    return width - 1;
  }

  #finish() {
    const done = runs(this.#cells);
    this.#cells = [];
    this.#column = 0;
    return done;
  }

  #obey([, parameters, , final]) {
    if (final === "m") this.#style = restyled(this.#style, parameters ?? "");
    if (final === "K" && parameters === "2") this.#cells = [];
    else if (final === "K" && !Number(parameters)) this.#cells = cutTo(this.#cells, this.#column);
  }
}

function widthOf(cells) {
  return cells.reduce((sum, cell) => sum + cell.text.length, 0);
}

function cutTo(cells, width) {
  const kept = [];
  for (const cell of cells) {
    if (width <= 0) break;
    kept.push({ text: cell.text.slice(0, width), style: cell.style });
    width -= cell.text.length;
  }
  return kept;
}

function overwrite(cells, column, text, style) {
  const before = cutTo(cells, column);
  const padding = column - widthOf(before);
  if (padding > 0) before.push({ text: " ".repeat(padding), style: PLAIN });
  const after = [];
  let skip = column + text.length;
  for (const cell of cells) {
    if (skip < cell.text.length) after.push({ text: cell.text.slice(Math.max(0, skip)), style: cell.style });
    skip -= cell.text.length;
  }
  return [...before, { text, style }, ...after];
}

function runs(cells) {
  return cells.map(({ text, style }) => ({ text, classes: classes(style) }));
}

function classes({ bold, dim, italic, underline, inverse, fg, bg }) {
  if (inverse) [fg, bg] = [bg < 0 ? 0 : bg, fg < 0 ? 7 : fg];
  return [
    bold && "a-bold",
    dim && "a-dim",
    italic && "a-italic",
    underline && "a-underline",
    fg >= 0 && fg < 16 && `a-fg${fg}`,
    bg >= 0 && `a-bg${bg % 8}`,
  ].filter(Boolean).join(" ");
}

/** The style after these SGR parameters. */
function restyled(style, text) {
  const codes = text.split(/[;:]/).map(Number);
  let next = { ...style };
  for (let place = 0; place < codes.length; place += 1) {
    const code = codes[place];
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code === 39) next.fg = -1;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code === 49) next.bg = -1;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 100 && code <= 107) next.bg = code - 100;
    else if (code === 38 || code === 48) {
      // 256 and true colours: the first sixteen have ours, the rest keeps the text's own colour.
      const colour = codes[place + 1] === 5 && codes[place + 2] < 16 ? codes[place + 2] : -1;
      if (code === 38) next.fg = colour;
      else next.bg = colour;
      place += codes[place + 1] === 5 ? 2 : codes[place + 1] === 2 ? 4 : 0;
    }
  }
  return next;
}
