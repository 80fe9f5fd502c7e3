// Charts: Vega-Lite, interpreted without eval, in the colours of the theme, as wide as the page.

const PALETTES = {
  light: ["#0067a8", "#c2410c", "#00805e", "#a8477f", "#7a5c00", "#3f93cf", "#6a4fb3", "#5b6570"],
  dark: ["#6db3ea", "#f28c5c", "#4fc79f", "#e69ac4", "#d6b54a", "#a9d4f5", "#b8a4ee", "#b4bec9"],
};
const GAP = 28;
const NARROWEST = 140;

let library;

/** Load Vega, Vega-Lite and Vega-Embed, which need each other in this order; once. */
function loadLibrary() {
  library ??= (async () => {
    for (const number of [0, 1, 2]) await runPacked(`library-${number}`);
  })();
  return library;
}

/** Draw all charts; the function that is returned draws them again, as after a change of the theme. */
function startCharts(report) {
  const bands = document.getElementById("bands");
  const draw = () => Promise.all([...drawPairs(report.pairs), drawCurves(report.curves, bands?.checked)]);
  bands?.addEventListener("change", () => {
    changeAddress("bands", bands.checked ? "1" : "");
    drawCurves(report.curves, bands.checked);
  });
  let width = innerWidth;
  let waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  });
  return () => {
    if (bands) bands.checked = readAddress().get("bands") === "1";
    return draw();
  };
}

/** The curves, in as many facets a line as the page is wide. */
function drawCurves(spec, withBands) {
  const place = document.getElementById("chart-curves");
  if (!spec || !place) return undefined;
  const facets = new Set(spec.data.values.map((one) => one.column)).size;
  const room = place.clientWidth - 46;
  const most = Math.max(1, Math.floor((room + GAP) / (NARROWEST + GAP)));
  const columns = Math.ceil(facets / Math.ceil(facets / most));
  const width = Math.min(360, Math.floor((room - (columns - 1) * GAP) / columns));
  const shown = structuredClone(spec);
  shown.columns = columns;
  shown.spec.width = width;
  if (!withBands) shown.spec.layer = shown.spec.layer.filter(({ mark }) => mark.type !== "area");
  for (const { encoding } of shown.spec.layer) {
    for (const legend of [encoding.color.legend, encoding.strokeDash?.legend]) {
      if (legend) legend.columns = Math.max(1, Math.floor(room / 200));
    }
  }
  return embed(place, shown);
}

function drawPairs(specs) {
  return specs.map((spec, number) => {
    const place = document.getElementById(`chart-pairs-${number}`);
    const labels = Math.min(300, place.clientWidth * 0.4);
    const width = Math.min(620, Math.max(120, place.clientWidth - labels - 24));
    const shown = { ...structuredClone(spec), width };
    for (const layer of shown.layer) {
      if (layer.encoding.y) layer.encoding.y.axis.labelLimit = labels;
      if (layer.encoding.color) layer.encoding.color.scale.range = verdictColours();
      if (layer.encoding.shape) layer.encoding.shape.scale.range = ["circle", "square", "triangle-up"];
    }
    return embed(place, shown);
  });
}

function verdictColours() {
  return ["good", "failed", "missing"].map(colourOf);
}

async function embed(place, spec) {
  await loadLibrary();
  const { view } = await vegaEmbed(place, spec, {
    actions: false,
    ast: true,
    config: config(),
    defaultStyle: false,
    renderer: "svg",
    tooltip: showTooltip,
  });
  // The place has the words for it; the marks have none that help.
  place.querySelector("svg").setAttribute("aria-hidden", "true");
  place.finalizeChart?.();
  place.finalizeChart = () => view.finalize();
}

/** What a mark says, as text: the values come from the run. */
function showTooltip(_, event, __, value) {
  const tooltip = document.getElementById("tooltip");
  tooltip.hidden = value === null || value === undefined || value === "";
  if (tooltip.hidden) return;
  const lines = Object.entries(value).map(([name, words]) => `${name}: ${words}`);
  tooltip.replaceChildren();
  appendVisible(tooltip, lines.join("\n"));
  const x = Math.min(event.clientX + 14, innerWidth - tooltip.offsetWidth - 8);
  const y = Math.min(event.clientY + 14, innerHeight - tooltip.offsetHeight - 8);
  tooltip.style.left = `${Math.max(4, x)}px`;
  tooltip.style.top = `${Math.max(4, y)}px`;
}

function config() {
  const [ink, quiet, line, zero] = ["ink", "quiet", "line", "zero"].map(colourOf);
  const palette = PALETTES[isDark() ? "dark" : "light"];
  const font = getComputedStyle(document.body).fontFamily;
  return {
    font,
    background: "transparent",
    view: { stroke: line },
    axis: {
      domain: false,
      gridColor: line,
      gridOpacity: 0.7,
      labelColor: quiet,
      labelFontSize: 11,
      tickColor: line,
      titleColor: quiet,
      titleFontSize: 11,
      titleFontWeight: "normal",
    },
    header: { labelColor: ink, labelFontSize: 12, labelFontWeight: 600, labelPadding: 6 },
    legend: { labelColor: ink, labelFontSize: 12, titleColor: quiet, titleFontSize: 11, titleFontWeight: "normal" },
    line: { strokeWidth: 1.8 },
    rule: { color: zero },
    range: { category: palette },
    style: { zero: { strokeDash: [4, 3], strokeWidth: 1.2 } },
  };
}
