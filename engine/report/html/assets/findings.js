// The list of findings: what the address asks for, 50 at a time, each opened when it is wanted.

const AT_ONCE = 50;

class FindingList {
  constructor(index, report) {
    this.index = index;
    this.report = report;
    this.filters = filtersOf(index, report.axes);
    this.list = document.getElementById("list");
    this.count = document.getElementById("count");
    this.more = document.getElementById("more");
    this.search = document.getElementById("search");
    this.numbers = [];
    this.shown = 0;
    this.asked = 0;
    index.starts = startsOf(index.page);
    this.makeControls();
  }

  makeControls() {
    const form = document.getElementById("filters");
    document.getElementById("axis-filters").replaceChildren(...this.filters.map(makeControl));
    form.addEventListener("change", (event) => {
      if (event.target !== this.search) this.follow(event.target.name, event.target.value);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.clear();
    });
    this.search.addEventListener("input", () => this.follow("q", this.search.value, { replaces: true }));
    this.more.addEventListener("click", () => this.showMore(true));
  }

  follow(name, value, options) {
    changeAddress(name, value, options);
    this.update();
  }

  clear() {
    const left = readAddress();
    for (const name of ["q", ...this.filters.map((one) => one.name)]) left.delete(name);
    writeAddress(left);
    this.update();
  }

  /** Show what the address asks for. */
  async update() {
    const asked = ++this.asked;
    const address = readAddress();
    this.showControls(address);
    this.words = wordsOf(address.get("q"));
    let numbers = selectFindings(this.index, this.filters, address);
    if (this.words.length) {
      this.count.textContent = "searching …";
      numbers = await searchFindings(this.index, numbers, this.words, () => asked !== this.asked);
      if (numbers === null) return;
    }
    this.numbers = numbers;
    this.shown = 0;
    this.list.replaceChildren();
    const all = this.index.score.length.toLocaleString("en");
    this.count.textContent = `${numbers.length.toLocaleString("en")} of ${all}`;
    this.showMore(false);
  }

  showControls(address) {
    const command = document.getElementById("findings-command");
    if (command) command.textContent = this.command(address);
    if (document.activeElement !== this.search) this.search.value = address.get("q") ?? "";
    for (const control of document.querySelectorAll("#axis-filters :is(select, input)")) {
      const value = address.get(control.name) ?? "";
      if (control.options && ![...control.options].some((one) => one.value === value)) {
        control.add(new Option(plainly(value), value));
      }
      control.value = value;
    }
  }

  /** The command that prints all findings which the filters select, those that the file lacks included. */
  command(address) {
    const chosen = this.filters.filter((one) => one.name !== "layer" && address.get(one.name));
    const conditions = chosen.map((one) => `--where ${quoted(`${one.name}=${patternOf(one, address)}`)}`);
    return [this.report.command, ...conditions].join(" ");
  }

  /** Show further findings; with `focuses`, the first of them gets the focus. */
  showMore(focuses) {
    const next = this.numbers.slice(this.shown, this.shown + AT_ONCE);
    const items = next.map((number) => this.item(number));
    this.list.append(...items);
    this.shown += next.length;
    const left = this.numbers.length - this.shown;
    this.more.hidden = left === 0;
    this.more.textContent = `show ${Math.min(left, AT_ONCE)} more`;
    if (focuses) items[0]?.querySelector("summary").focus();
  }

  item(number) {
    const details = element("details");
    const preview = element("span", "preview");
    preview.dir = "auto";
    details.append(element("summary", "", this.score(number), this.labels(number), preview));
    details.addEventListener("toggle", () => this.open(details, number), { once: true });
    this.preview(preview, number);
    return element("li", "", details);
  }

  score(number) {
    const score = this.index.score[number];
    return element("b", "score", score === null ? "–" : score.toFixed(2));
  }

  labels(number) {
    const axes = Object.keys(this.index.columns).filter((axis) => this.index.labels[axis].length > 1);
    const parts = axes.map((axis) => label(named(axis, this.index.labels[axis][this.index.columns[axis][number]])));
    const name = this.index.cases[this.index.case[number]];
    if (name !== null) parts.push(element("span", "case", label(name)));
    const layer = this.index.layer[number];
    if (layer) parts.push(element("span", "case", `layer ${layer}`));
    return element("span", "labels", ...parts.flatMap((part, at) => (at ? [" · ", part] : [part])));
  }

  async preview(place, number) {
    const { messages } = await openFinding(this.index, number);
    const last = messages.at(-1)?.[1] ?? "";
    appendVisible(place, last.slice(0, 160).replace(/\s+/g, " "));
  }

  async open(details, number) {
    const text = await openFinding(this.index, number);
    const command = `${this.report.show} ${this.index.job[number]}`;
    details.append(conversation(text, this.words, command));
  }
}

/** What the command takes for the value of a filter. */
function patternOf(filter, address) {
  const value = address.get(filter.name);
  return filter.values.length <= MOST_OPTIONS ? value : `*${value}*`;
}

/** A word as a shell reads it. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${plainly(word).replaceAll("'", `'"'"'`)}'`;
}

/** A value as a label: a number says nothing without the name of its axis. */
function named(axis, value) {
  return /^[\d.]+$/.test(value) ? `${axis} ${value}` : value || `no ${axis}`;
}

/** The first finding of each page: findings stand in the order of the pages. */
function startsOf(pages) {
  const starts = [];
  pages.forEach((page, number) => (starts[page] ??= number));
  return starts;
}
