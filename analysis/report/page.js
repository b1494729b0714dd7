// Joins the table to its filters, headings, pages and keys.

const byId = (id) => document.getElementById(id);

function showTable(table) {
  const head = make("tr", { role: "row" }, ...table.columns.map((column) => table.heading(column)));
  byId("rows").tHead.replaceChildren(head);
  for (const button of head.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      table.sortBy(button.dataset.key);
      showTable(table);
      byId("rows").tHead.querySelector(`[data-key="${button.dataset.key}"]`).focus();
    });
  }
  byId("rows").tBodies[0].replaceChildren(...Array.from(table.shown, (row) => make("tr", { role: "row" }, ...table.cells(row))));
  byId("page").textContent = `Page ${integer(table.page + 1)} of ${integer(table.pages)}`;
  byId("status").textContent = said(table);
  byId("sort").value = table.sort.key;
  byId("descending").checked = table.sort.descending;
  for (const button of document.querySelectorAll("#pages [data-go]")) {
    button.disabled = ["first", "previous"].includes(button.dataset.go) ? table.page === 0 : table.page >= table.pages - 1;
  }
}

function said(table) {
  const { rows, rule, page, perPage } = table;
  const what = rule.measure === "memorization" ? `rule ${rule.name}` : `rule ${rule.name}, ${rule.measure} of removing the set`;
  if (rows.length === 0) return `No document passes the filters (${what}).`;
  const last = Math.min(rows.length, (page + 1) * perPage);
  const of = rows.length === rule.length ? `${integer(rows.length)} rows` : `${integer(rows.length)} of ${integer(rule.length)} rows`;
  return `${integer(page * perPage + 1)} to ${integer(last)} of ${of}, ${what}`;
}

function turn(table, where) {
  const pages = { first: 0, previous: table.page - 1, next: table.page + 1, last: table.pages - 1 };
  table.page = Math.max(0, Math.min(table.pages - 1, pages[where]));
  showTable(table);
}

const KEYS = { PageDown: "next", PageUp: "previous", Home: "first", End: "last" };

function onKey(table, event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const buttons = [...byId("rows").querySelectorAll("button.open")];
  const at = buttons.indexOf(document.activeElement);
  if (event.key in KEYS) {
    turn(table, KEYS[event.key]);
    if (at >= 0) byId("rows").querySelector("button.open")?.focus();
  } else if (event.key === "ArrowDown") {
    buttons[Math.min(buttons.length - 1, at + 1)]?.focus();
  } else if (event.key === "ArrowUp" && at > 0) {
    buttons[at - 1].focus();
  } else {
    return;
  }
  event.preventDefault();
}

function readFilters(table) {
  const least = (id) => (byId(id).value === "" ? NaN : Number(byId(id).value));
  table.filter = {
    text: byId("search").value.trim(), where: byId("where").value, least: least("least"), most: least("most"),
    verdict: Number(byId("verdict").value), size: least("size"),
  };
  table.rule = table.data.rules[Number(byId("rule").value)];
  table.page = 0;
  table.update();
  showTable(table);
}

function options(id, pairs) {
  byId(id).replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
}

function connect(table, data) {
  options("rule", data.rules.map((rule, i) => [i, rule.name]));
  options("where", [["all", "everything"], ...table.columns.filter(({ key, text }) => text && key !== "verdict").map(({ key, title }) => [key, title])]);
  options("verdict", [[-1, "any"], ...(data.verdicts?.values ?? []).map((text, i) => [i, text])]);
  options("sort", table.columns.map(({ key, title }) => [key, title]));
  const filters = byId("filters");
  let waiting = 0;
  filters.addEventListener("input", (event) => {
    if (event.target.id === "sort" || event.target.id === "descending") {
      table.sortBy(byId("sort").value, byId("descending").checked);
      showTable(table);
    } else {
      clearTimeout(waiting);
      waiting = setTimeout(() => readFilters(table), event.target.type === "search" ? 150 : 0);
    }
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(() => readFilters(table)));
  byId("rows-region").addEventListener("keydown", (event) => onKey(table, event));
  byId("pages").addEventListener("click", (event) => event.target.dataset.go && turn(table, event.target.dataset.go));
  byId("per-page").addEventListener("change", (event) => {
    const first = table.page * table.perPage;
    table.perPage = Number(event.target.value);
    table.page = Math.floor(first / table.perPage);
    showTable(table);
  });
  filters.hidden = byId("pages").hidden = false;
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    byId("status").textContent = "This browser is too old for the table of documents (it lacks DecompressionStream, of 2023).";
    return;
  }
  const data = await readTable();
  const table = new DocumentTable(data, (row) => view.open(row));
  const view = new DocumentView(data, table);
  if (matchMedia("(max-width: 46rem)").matches) byId("per-page").value = table.perPage = 10;
  connect(table, data);
  showTable(table);
}

start();
