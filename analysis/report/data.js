"use strict";
// What the page knows: two packed texts, unpacked into columns. Text from here is only ever set with textContent.

const SCALE = 10000; // scores are whole ten-thousandths of a nat
const FLOATS = ["memorization", "ci_low", "ci_high", "loss_in", "loss_out", "p_value"];
const COUNTS = ["group_size", "n_in", "n_out"];

async function unpack(id) {
  const packed = atob(JSON.parse(document.getElementById(id).textContent));
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function floats(values) {
  return Float64Array.from(values, (value) => (value === null ? NaN : value / SCALE));
}

function whole(values) {
  return Float64Array.from(values, (value) => (value === null ? NaN : value));
}

// A rule's rows as columns: row -> document, and numbers with NaN where there is none.
function readRule(rule) {
  const read = { name: rule.name, measure: rule.measure, groups: rule.groups, reasons: rule.reasons };
  const length = rule.memorization.length;
  read.length = length;
  read.document = rule.document === null ? Uint32Array.from({ length }, (_, i) => i) : Uint32Array.from(rule.document);
  read.group = Int32Array.from(rule.group);
  read.reason = Int32Array.from(rule.reason);
  for (const name of FLOATS) read[name] = floats(rule[name]);
  for (const name of COUNTS) read[name] = whole(rule[name]);
  return read;
}

async function readTable() {
  const data = await unpack("table-data");
  data.tokens = whole(data.tokens);
  data.rules = data.rules.map(readRule);
  return data;
}

let details = null; // unpacked when the first document is opened

function readDetails() {
  details ??= unpack("detail-data");
  return details;
}

// Rows of a rule that are about one document, or that stand in one group.
function rowsOf(rule, document) {
  const found = [];
  for (let row = 0; row < rule.length; row++) if (rule.document[row] === document) found.push(row);
  return found;
}

function membersOf(rule, group) {
  const found = [];
  for (let row = 0; row < rule.length; row++) if (rule.group[row] === group) found.push(rule.document[row]);
  return found;
}

function number(value, digits = 2) {
  return Number.isNaN(value) ? "–" : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"); // no -0.00
}

function interval(rule, row, digits = 2) {
  const score = number(rule.memorization[row], digits);
  if (Number.isNaN(rule.memorization[row]) || Number.isNaN(rule.ci_low[row])) return score;
  return `${score} [${number(rule.ci_low[row], digits)}, ${number(rule.ci_high[row], digits)}]`;
}

function integer(value) {
  return Number.isNaN(value) ? "–" : value.toLocaleString("en");
}

// make("td", {class: "n"}, "text", element): children that are strings become text, never markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}
