// The filters of the page stand in its address, after the #: a link shows what its sender saw.

/** The filters in the address, by name; empty if it names a section. */
function readAddress() {
  const text = location.hash.slice(1);
  return text.includes("=") ? new URLSearchParams(text) : new URLSearchParams();
}

/** Put filters into the address; `replaces` leaves no entry for the back button, as while a word is typed. */
function writeAddress(filters, { replaces = false } = {}) {
  const text = filters.toString();
  const next = `#${text}`;
  if (next === location.hash || (!text && !location.hash)) return;
  if (replaces) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
}

/** Change one filter in the address; an empty value removes it. */
function changeAddress(name, value, options) {
  const filters = readAddress();
  if (value) filters.set(name, value);
  else filters.delete(name);
  writeAddress(filters, options);
}
