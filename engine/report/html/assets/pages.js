// The texts of findings: gzip in base64, opened page by page, when they are wanted.

const opened = new Map();

/** Open what a <script> of the page holds: JSON, compressed, as base64. */
async function openPacked(id) {
  const binary = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The texts of one page, each a finding; every page is opened once. */
function openPage(number) {
  if (!opened.has(number)) opened.set(number, openPacked(`findings-page-${number}`));
  return opened.get(number);
}

/** The text of one finding of the index. */
async function openFinding(index, number) {
  const page = await openPage(index.page[number]);
  return page[number - index.starts[index.page[number]]];
}
