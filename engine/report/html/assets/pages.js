// The texts of findings: gzip in base64, opened page by page, when they are wanted.

const opened = new Map();

/** Open what a <script> of the page holds: gzip as base64. */
function openCompressed(id) {
  const binary = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

/** Open what a <script> of the page holds: JSON, compressed. */
function openPacked(id) {
  return openCompressed(id).json();
}

/** Run a script that the page holds compressed; the policy of the page knows its hash. */
async function runPacked(id) {
  const script = document.createElement("script");
  script.textContent = await openCompressed(id).text();
  document.head.append(script);
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
