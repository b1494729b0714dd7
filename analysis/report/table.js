// The table of documents: filters and sorts row numbers of the chosen rule, and shows one page of them.

const collator = new Intl.Collator("en", { numeric: true });

class DocumentTable {
  constructor(data, open) {
    this.data = data;
    this.open = open;
    this.rule = data.rules[0];
    this.sort = { key: "score", descending: true };
    this.page = 0;
    this.perPage = 25;
    this.filter = { text: "", where: "all", least: NaN, most: NaN, verdict: -1, size: NaN };
    this.ranks = new Map(); // column of text -> the rank of every document
    this.hay = new Map(); // where -> lower-case text of every document
    this.columns = this.allColumns();
    this.update();
  }

  allColumns() {
    const { data } = this;
    const numeric = (key, title, values, show = number) => ({ key, title, values, show: (row) => show(values()[row]) });
    const columns = [
      { key: "id", title: "Document", text: data.ids },
      { key: "text", title: "Text", text: data.texts },
      { key: "score", title: "Score [95 %], nats", values: () => this.rule.memorization, show: (row) => interval(this.rule, row) },
      numeric("loss_in", "Loss in", () => this.rule.loss_in),
      numeric("loss_out", "Loss out", () => this.rule.loss_out),
      { key: "n", title: "Models in / out", values: () => this.rule.n_in,
        show: (row) => `${integer(this.rule.n_in[row])} / ${integer(this.rule.n_out[row])}` },
      numeric("size", "In group", () => this.rule.group_size, integer),
      { key: "tokens", title: "Tokens", of: data.tokens, show: (row) => integer(data.tokens[this.rule.document[row]]) },
    ];
    if (data.verdicts !== null) columns.push(this.coded("verdict", "Verdict", data.verdicts));
    data.metadata.forEach((column, i) => columns.push(this.coded(`meta-${i}`, column.name, column)));
    return columns;
  }

  coded(key, title, column) {
    return { key, title, text: column.codes.map((code) => (code < 0 ? null : column.values[code])) };
  }

  // The value by which a row is sorted, as a number; text by its rank among all documents.
  keys(column) {
    const { document } = this.rule;
    if (column.values) return column.values();
    const of = column.of ?? this.rank(column);
    return Float64Array.from(document, (place) => of[place]);
  }

  rank(column) {
    if (!this.ranks.has(column.key)) {
      const order = column.text.map((_, i) => i).filter((i) => column.text[i] !== null);
      // Names in the order that people expect, d9 before d10; texts, of which there are long ones, by their characters.
      const text = (a, b) => (column.text[a] < column.text[b] ? -1 : column.text[a] > column.text[b] ? 1 : a - b);
      const name = (a, b) => collator.compare(column.text[a], column.text[b]) || a - b;
      order.sort(column.key === "text" ? text : name);
      const ranks = new Float64Array(column.text.length).fill(NaN);
      let rank = -1;
      order.forEach((place, i) => {
        if (i === 0 || column.text[order[i - 1]] !== column.text[place]) rank = i;
        ranks[place] = rank;
      });
      this.ranks.set(column.key, ranks);
    }
    return this.ranks.get(column.key);
  }

  // Rows that pass the filters, sorted; what has no value comes last in either direction, equal rows in corpus order.
  update() {
    const rows = this.passing();
    const column = this.columns.find(({ key }) => key === this.sort.key) ?? this.columns[2];
    const keys = this.keys(column);
    const sign = this.sort.descending ? -1 : 1;
    rows.sort((a, b) => {
      const [first, second] = [keys[a], keys[b]];
      if (first === second) return a - b;
      if (Number.isNaN(first)) return Number.isNaN(second) ? a - b : 1;
      return Number.isNaN(second) ? -1 : sign * (first - second);
    });
    this.rows = rows;
    this.page = Math.min(this.page, this.pages - 1);
  }

  passing() {
    const { rule, filter, data } = this;
    const words = filter.text.toLowerCase();
    const hay = words ? this.haystack(filter.where) : null;
    const kept = [];
    for (let row = 0; row < rule.length; row++) {
      const place = rule.document[row];
      const score = rule.memorization[row];
      if (hay !== null && !hay[place].includes(words)) continue;
      if (!Number.isNaN(filter.least) && !(score >= filter.least)) continue;
      if (!Number.isNaN(filter.most) && !(score <= filter.most)) continue;
      if (filter.verdict >= 0 && data.verdicts.codes[place] !== filter.verdict) continue;
      if (!Number.isNaN(filter.size) && !(rule.group_size[row] >= filter.size)) continue;
      kept.push(row);
    }
    return Uint32Array.from(kept);
  }

  haystack(where) {
    if (!this.hay.has(where)) {
      const texts = this.columns.filter(({ key, text }) => text && (where === key || (where === "all" && key !== "verdict")));
      const joined = this.data.ids.map((_, i) => texts.map(({ text }) => text[i] ?? "").join("\n").toLowerCase());
      this.hay.set(where, joined);
    }
    return this.hay.get(where);
  }

  get pages() {
    return Math.max(1, Math.ceil(this.rows.length / this.perPage));
  }

  get shown() {
    return this.rows.subarray(this.page * this.perPage, (this.page + 1) * this.perPage);
  }

  sortBy(key, descending) {
    const numeric = !this.columns.find((column) => column.key === key).text;
    this.sort = { key, descending: descending ?? (this.sort.key === key ? !this.sort.descending : numeric) };
    this.page = 0;
    this.update();
  }

  cells(row) {
    const place = this.rule.document[row];
    return this.columns.map((column) => {
      if (column.key === "id") return this.nameCell(row, place);
      const value = column.text ? column.text[place] ?? "–" : column.show(row);
      const kind = [column.text ? (column.key === "text" ? "text" : "code") : "n", value === "–" ? "none" : ""].join(" ").trim();
      const cell = make("td", { class: kind, role: "cell", "data-label": column.title, dir: column.text ? "auto" : null },
        column.text ? make("span", { class: "cut" }, value) : value);
      if (column.key === "score" && this.rule.reason[row] >= 0) {
        cell.append(make("span", { class: "why" }, this.rule.reasons[this.rule.reason[row]]));
      }
      return cell;
    });
  }

  nameCell(row, place) {
    const button = make("button", { type: "button", class: "open", dir: "auto" }, this.data.ids[place] || "(no name)");
    button.addEventListener("click", () => this.open(row));
    return make("th", { scope: "row", role: "rowheader", "data-label": "Document" }, button);
  }

  heading(column) {
    const sorted = this.sort.key === column.key;
    const direction = sorted ? (this.sort.descending ? "descending" : "ascending") : "none";
    const button = make("button", { type: "button", class: "sort", "data-key": column.key, dir: "auto" }, column.title);
    return make("th", { scope: "col", role: "columnheader", class: column.text ? null : "n", "aria-sort": direction }, button);
  }
}
