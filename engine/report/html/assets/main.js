// Starts the page: without this script its tables are all there.

const report = JSON.parse(document.getElementById("report").textContent);

for (const one of document.querySelectorAll(".needs-script")) one.hidden = false;
for (const one of document.querySelectorAll(".without-script")) one.hidden = true;

/** Links to sections scroll, and leave the filters in the address. */
function startNavigation() {
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.getElementById(link.hash.slice(1)).scrollIntoView();
    });
  }
}

/** A click into the heat map shows its findings, at the threshold that the map shows. */
function startHeatLinks(list) {
  document.getElementById("heat")?.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    const filters = readAddress();
    for (const one of list.filters) filters.delete(one.name);
    for (const [name, value] of new URLSearchParams(link.hash.slice(1))) filters.set(name, value);
    const threshold = document.getElementById("heat-threshold");
    if (threshold) filters.set("threshold", threshold.value);
    writeAddress(filters);
    list.update();
    document.getElementById("findings").scrollIntoView();
  });
}

async function start() {
  startNavigation();
  const showHeat = startHeat(report.heat);
  showHeat();
  const list = new FindingList(await openPacked("findings-index"), report);
  startHeatLinks(list);
  const follow = () => {
    showHeat();
    list.update();
  };
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
  addEventListener("filters", showHeat);
  await list.update();
  startTheme(startCharts(report));
}

await start();
