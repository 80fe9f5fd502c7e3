// Texts of models as nodes: nothing in them is read as HTML, and characters that mislead the eye are shown.

const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;
const LONG = 20_000;

/** Make an element with a class and children: nodes, or texts of ours. */
function element(name, className = "", ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Append a text to an element, with a tag such as ‹U+202E› in place of each misleading character. */
function appendVisible(parent, text) {
  let last = 0;
  for (const found of text.matchAll(HIDDEN)) {
    parent.append(text.slice(last, found.index), tagOf(found[0]));
    last = found.index + found[0].length;
  }
  parent.append(text.slice(last));
  return parent;
}

function tagOf(character) {
  const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return element("span", "hidden-character", `‹U+${code}›`);
}

/** A short text such as a label, isolated from the direction of what stands beside it. */
function label(text) {
  return appendVisible(element("bdi"), String(text));
}

/** A text of any length as a block; of a long one only the beginning, until a button is pressed. */
function textBlock(text, words) {
  const block = element("div", "text");
  block.dir = "auto";
  appendMarked(block, text.slice(0, LONG), words);
  if (text.length > LONG) block.append(restButton(block, text, words));
  return block;
}

function restButton(block, text, words) {
  const more = element("button", "", `show all ${text.length.toLocaleString("en")} characters`);
  more.type = "button";
  more.addEventListener("click", () => {
    more.remove();
    appendMarked(block, text.slice(LONG), words);
  });
  return more;
}

/** Append a text in which the words that were searched for are marked. */
function appendMarked(parent, text, words) {
  if (!words.length) return appendVisible(parent, text);
  const wanted = new RegExp(words.map((word) => word.replace(/[\\^$.*+?()[\]{}|\/-]/g, "\\$&")).join("|"), "giu");
  let last = 0;
  for (const found of text.matchAll(wanted)) {
    appendVisible(parent, text.slice(last, found.index));
    parent.append(appendVisible(element("mark"), found[0]));
    last = found.index + found[0].length;
  }
  return appendVisible(parent, text.slice(last));
}
