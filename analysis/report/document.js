// One document in a dialog: its text with tokens coloured, its scores under every rule, and its groups.

const SHADES = [0.5, 1, 2, 4]; // nats from which a token is darker
const MOST_TOKENS = 12;
const MOST_MEMBERS = 50;

function shade(score) {
  if (Number.isNaN(score)) return "t0";
  if (score <= -SHADES[0]) return "less";
  return `t${SHADES.filter((least) => score >= least).length}`;
}

class DocumentView {
  constructor(data, table) {
    this.data = data;
    this.table = table;
    this.dialog = document.getElementById("document");
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("close", () => this.closed());
  }

  async open(row) {
    this.row = row;
    this.place = this.table.rule.document[row];
    const found = (await readDetails()).documents;
    this.detail = found[this.place] ?? null;
    this.epochs = (await readDetails()).epochs;
    this.dialog.replaceChildren(this.bar(), this.title(), this.facts(), ...this.body(), ...this.scores(), ...this.byEpoch(), ...this.groups());
    this.dialog.scrollTop = 0;
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector("#document-title").focus();
  }

  closed() {
    const buttons = [...document.querySelectorAll("#rows button.open")];
    const at = this.table.shown.indexOf(this.row);
    (buttons[at] ?? document.getElementById("rows-region")).focus();
  }

  key(event) {
    if (event.target.matches("select, input, .wide") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") this.step(1);
    else if (event.key === "ArrowLeft") this.step(-1);
    else return;
    event.preventDefault();
  }

  step(by) {
    const at = this.table.rows.indexOf(this.row) + by;
    if (at < 0 || at >= this.table.rows.length) return;
    this.table.page = Math.floor(at / this.table.perPage);
    showTable(this.table);
    this.open(this.table.rows[at]);
  }

  bar() {
    const button = (label, act) => {
      const made = make("button", { type: "button" }, label);
      made.addEventListener("click", act);
      return made;
    };
    return make("div", { class: "bar" },
      button("‹ Previous", () => this.step(-1)), button("Next ›", () => this.step(1)),
      button("Close", () => this.dialog.close()));
  }

  title() {
    return make("h2", { id: "document-title", tabindex: "-1", dir: "auto" }, this.data.ids[this.place] || "(no name)");
  }

  facts() {
    const rows = [["Tokens", integer(this.data.tokens[this.place])]];
    const { verdicts, metadata } = this.data;
    if (verdicts !== null && verdicts.codes[this.place] >= 0) rows.push(["Verdict", verdicts.values[verdicts.codes[this.place]]]);
    for (const { name, values, codes } of metadata) if (codes[this.place] >= 0) rows.push([name, values[codes[this.place]]]);
    return make("dl", { class: "facts" }, ...rows.map(([name, value]) =>
      make("div", {}, make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, value))));
  }

  body() {
    const { detail } = this;
    if (detail === null) {
      const begins = this.data.texts[this.place];
      return [make("h3", {}, "Text"), make("p", { class: "document", dir: "auto" }, begins ?? "Its text is not known."),
        make("p", { class: "note" }, "This file has the beginning of its text alone; memo show DIR DOC has all of it.")];
    }
    if (detail.text === null) return [make("h3", {}, "Text"), make("p", {}, "Its text is not known.")];
    const parts = detail.tokens === null ? this.plain() : this.coloured();
    if (detail.left > 0) parts.push(make("p", { class: "note" }, `${integer(detail.left)} more characters are not in this file.`));
    return [make("h3", {}, "Text"), ...parts];
  }

  plain() {
    return [make("div", { class: "document", dir: "auto" }, this.detail.text),
      make("p", { class: "note" }, "No losses of single tokens were kept of this document.")];
  }

  coloured() {
    const { pieces, rules } = this.detail.tokens;
    const text = make("div", { class: "document", dir: "auto" });
    const most = make("div", {});
    const colour = (name) => {
      const scores = floats(rules[name]);
      text.replaceChildren(...pieces.map((piece, i) => make("span",
        { class: shade(scores[i]), title: Number.isNaN(scores[i]) ? null : `${number(scores[i])} nats` }, piece)));
      most.replaceChildren(this.mostMemorized(pieces, scores, name));
    };
    const select = make("select", {}, ...Object.keys(rules).map((name) => make("option", {}, name)));
    const known = Object.keys(rules).find((name) => rules[name].some((value) => value !== null));
    if (known === undefined) return this.plain();
    select.value = known;
    select.addEventListener("change", () => colour(select.value));
    colour(known);
    const legend = make("p", { class: "legend" }, "Nats of memorization: ", ...["less", "t1", "t2", "t3", "t4"].map((name, i) =>
      make("span", { class: name }, i === 0 ? ` below −${SHADES[0]} ` : ` from ${SHADES[i - 1]} `)));
    return [make("label", { class: "tokens" }, "Tokens coloured by rule ", select), text, legend, most];
  }

  mostMemorized(pieces, scores, rule) {
    const order = [...scores.keys()].filter((i) => scores[i] > 0).sort((a, b) => scores[b] - scores[a]).slice(0, MOST_TOKENS);
    const context = (i) => make("td", { dir: "auto" }, pieces.slice(Math.max(0, i - 3), i).join(""), make("mark", {}, pieces[i]),
      pieces.slice(i + 1, i + 3).join(""));
    return make("details", {}, make("summary", {}, `The ${order.length} most memorized tokens`),
      table(`Tokens by rule ${rule}`, ["Nats", "In context"], order.map((i) => [make("td", { class: "n" }, number(scores[i])), context(i)])));
  }

  scores() {
    const rows = this.data.rules.flatMap((rule) => rowsOf(rule, this.place).map((row) => [
      make("th", { scope: "row" }, rule.measure === "memorization" ? rule.name : `${rule.name} (${rule.measure})`),
      make("td", { class: "n" }, interval(rule, row, 3)),
      make("td", { class: "n" }, number(rule.loss_in[row], 3)), make("td", { class: "n" }, number(rule.loss_out[row], 3)),
      make("td", { class: "n" }, `${integer(rule.n_in[row])} / ${integer(rule.n_out[row])}`),
      make("td", { class: "n" }, Number.isNaN(rule.p_value[row]) ? "–" : rule.p_value[row] < 0.001 ? "< 0.001" : number(rule.p_value[row], 3)),
      make("td", { class: "n" }, integer(rule.group_size[row])),
      make("td", { dir: "auto" }, rule.reason[row] >= 0 ? rule.reasons[rule.reason[row]] : ""),
    ]));
    const heads = ["Rule", "Score [95 %]", "Loss in", "Loss out", "Models in / out", "p", "In group", "Note"];
    return [make("h3", {}, "Scores under every rule"), table("Nats per token", heads, rows)];
  }

  byEpoch() {
    const epochs = this.detail?.epochs ?? {};
    const alone = (name) => this.data.rules.slice(1).some((rule) => rule.name === name && rowsOf(rule, this.place).every((row) => rule.group[row] < 0));
    const rows = Object.entries(epochs).filter(([rule]) => !alone(rule)).flatMap(([rule, found]) => found.map((values, e) => {
      const [loss_in, loss_out, score, low, high] = floats(values);
      if (Number.isNaN(score)) return null;
      const ends = Number.isNaN(low) ? "" : ` [${number(low)}, ${number(high)}]`;
      return [make("th", { scope: "row" }, rule), ...[integer(this.epochs[e]), number(loss_in), number(loss_out), number(score) + ends]
        .map((text) => make("td", { class: "n" }, text))];
    })).filter((row) => row !== null);
    if (rows.length === 0) return [];
    return [make("h3", {}, "By epoch"), table("Nats per token", ["Rule", "Epochs", "Loss in", "Loss out", "Score [95 %]"], rows)];
  }

  groups() {
    const parts = [];
    for (const rule of this.data.rules) {
      for (const row of rowsOf(rule, this.place)) {
        if (rule.group[row] < 0) continue;
        const others = membersOf(rule, rule.group[row]).filter((place) => place !== this.place);
        const size = rule.group_size[row];
        parts.push(make("h3", { dir: "auto" }, `Kept or left out with it by ${rule.name}: ${integer(size - 1)} others`));
        parts.push(make("ul", { class: "members" }, ...others.slice(0, MOST_MEMBERS).map((place) => this.member(place))));
        const unseen = size - 1 - Math.min(others.length, MOST_MEMBERS);
        if (unseen > 0) parts.push(make("p", { class: "note" }, `and ${integer(unseen)} more.`));
      }
    }
    return parts;
  }

  member(place) {
    const jump = make("button", { type: "button", class: "open", dir: "auto" }, this.data.ids[place] || "(no name)");
    jump.addEventListener("click", () => {
      const row = rowsOf(this.table.rule, place)[0];
      if (row !== undefined) this.open(row);
    });
    const known = this.detail?.members.find(([other]) => other === place)?.[1];
    if (!known) return make("li", {}, jump, " ", make("span", { dir: "auto" }, this.data.texts[place] ?? ""));
    const differs = known.pieces.some(([kind]) => kind === 1);
    const text = make("div", { class: "document", dir: "auto" }, ...known.pieces.flatMap(([kind, words, instead]) => kind === 0
      ? [words]
      : [instead ? make("del", {}, instead) : null, words ? make("ins", {}, words) : null].filter((part) => part !== null)));
    const note = !known.complete ? "too long to be compared word by word" : differs ? "" : "the same words";
    return make("li", {}, jump, " ", make("span", { class: "meaning" }, note), text, known.cut ? make("p", { class: "note" }, "… its beginning") : null);
  }
}

function table(caption, heads, rows) {
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head, i) =>
      make("th", { scope: "col", class: rows[0]?.[i].className || null }, head)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells)))));
}
