// The filters of findings: one for each axis, the threshold, the layer, and words.

/** An axis with more values is filtered by a part of them, which is typed. */
const MOST_OPTIONS = 300;

/** The filters that a run's findings can have: what they are called, their values, and which finding has which. */
function filtersOf(index, axes) {
  const found = Object.keys(index.columns).map((axis) => ({
    name: axis,
    values: inOrder(index.labels[axis], axes[axis] ?? []),
    has: (number, value) => matches(index.labels[axis][index.columns[axis][number]], value, index.labels[axis]),
  }));
  const thresholds = [...new Set(index.thresholds.flat())].sort((a, b) => a - b).map(String);
  found.push({
    name: "threshold",
    values: thresholds,
    has: (number, value) => index.thresholds[index.threshold[number]].some((at) => String(at) === value),
  });
  const layers = [...new Set(index.layer)].filter((layer) => layer !== null).sort((a, b) => a - b);
  found.push({
    name: "layer",
    values: layers.map(String),
    has: (number, value) => String(index.layer[number]) === value,
  });
  return found.filter((one) => one.values.length > 1);
}

/** Whether a value is the one that is asked for, or has it in it if the axis has too many to choose from. */
function matches(value, wanted, values) {
  if (values.length <= MOST_OPTIONS) return value === wanted;
  return value.toLowerCase().includes(wanted.toLowerCase());
}

/** Values in the order of the sweep; others follow. */
function inOrder(values, order) {
  const rank = new Map(order.map((value, number) => [value, number]));
  return [...values].sort((a, b) => (rank.get(a) ?? Infinity) - (rank.get(b) ?? Infinity));
}

/** The control of a filter: a choice of its values, or a field for a part of them. */
function makeControl(filter) {
  if (filter.values.length <= MOST_OPTIONS) return makeSelect(filter);
  const field = element("input");
  field.type = "search";
  field.name = filter.name;
  field.autocomplete = "off";
  field.setAttribute("aria-label", filter.name);
  return element("label", "", filter.name, field);
}

function makeSelect(filter) {
  const select = element("select");
  select.name = filter.name;
  select.setAttribute("aria-label", filter.name);
  select.append(new Option("all", ""), ...filter.values.map((value) => new Option(plainly(value), value)));
  return element("label", "", filter.name, select);
}

/** A text for where no element can stand, such as an option. */
function plainly(text) {
  return appendVisible(element("span"), text || "none").textContent;
}

/** The findings that the address asks for, by everything but words, in their order. */
function selectFindings(index, filters, address) {
  const wanted = filters.filter((one) => address.get(one.name));
  const found = [];
  for (let number = 0; number < index.score.length; number++) {
    if (wanted.every((one) => one.has(number, address.get(one.name)))) found.push(number);
  }
  return found;
}

/** The words of a search, in lower case. */
function wordsOf(query) {
  return (query ?? "").toLowerCase().split(/\s+/).filter(Boolean);
}

const searchable = new Map();

/** All texts of a finding in lower case, kept for the next letter that is typed. */
async function searchableText(index, number) {
  if (!searchable.has(number)) {
    const text = await openFinding(index, number);
    const parts = text.messages.flat();
    parts.push(index.cases[index.case[number]] ?? "", JSON.stringify(text.evidence ?? ""), JSON.stringify(text.values));
    searchable.set(number, parts.join("\n").toLowerCase());
  }
  return searchable.get(number);
}

/** Those findings whose texts have all words; null once `isOutdated` says that something else is wanted. */
async function searchFindings(index, numbers, words, isOutdated) {
  const found = [];
  for (const number of numbers) {
    const text = searchable.get(number) ?? (await searchableText(index, number));
    if (words.every((word) => text.includes(word))) found.push(number);
    if (isOutdated()) return null;
  }
  return found;
}
