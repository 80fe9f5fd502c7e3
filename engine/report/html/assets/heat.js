// The heat map at another threshold, or for another rate.

/** Let the heat map follow its two selects, and these the address. */
function startHeat(heat) {
  const rate = document.getElementById("heat-rate");
  const threshold = document.getElementById("heat-threshold");
  if (!heat || !rate) return () => {};
  rate.addEventListener("change", () => follow("rate", rate.value, heat.rate));
  threshold?.addEventListener("change", () => follow("at", threshold.value, heat.threshold));
  return () => {
    const filters = readAddress();
    rate.value = filters.get("rate") in heat.tables ? filters.get("rate") : heat.rate;
    const at = filters.get("at");
    const chosen = at in heat.tables[rate.value] ? at : heat.threshold;
    if (threshold) threshold.value = chosen;
    fillHeat(heat, rate.value, chosen);
  };

  function follow(name, value, usual) {
    changeAddress(name, value === usual ? "" : value);
    window.dispatchEvent(new Event("filters"));
  }
}

function fillHeat(heat, rate, threshold) {
  const at = threshold ? ` at threshold ${threshold}` : "";
  document.getElementById("heat-caption").textContent = `${rate}${at}`;
  document.getElementById("heat-words").textContent = `${rate}${at}: ${heat.words[rate]}.`;
  const rows = document.querySelectorAll("#heat tbody tr");
  heat.tables[rate][threshold].forEach((cells, row) => {
    const shown = rows[row].querySelectorAll("td");
    cells.forEach((cell, column) => cell && fillCell(shown[column], cell));
  });
}

function fillCell(shown, cell) {
  shown.className = cell.style;
  const link = shown.querySelector("a");
  const parts = [element("b", "", cell.text), element("small", "", cell.detail)];
  if (cell.missing) parts.push(element("small", "missing", cell.missing));
  link?.replaceChildren(...parts);
}
