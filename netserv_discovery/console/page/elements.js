// Elements of the page. Every text becomes a text node: nothing here, or anywhere in this page, makes markup of texts.
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

/** Give an element attributes, text and children. */
function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

const el = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => dress(document.createElementNS(SVG, tag), attributes, children);

/** A list of names and values; empty values are left out. */
function facts(pairs) {
  const list = el("dl");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", { text: name }), el("dd", {}, value instanceof Node ? value : String(value)));
  }
  return list;
}

/** Texts as small tags. */
const tags = (texts) => el("span", {}, ...texts.map((text) => el("span", { class: "tag", text })));

const offerText = (offer) => (offer.version ? `${offer.name} ${offer.version}` : offer.name);
const many = (count, one, several = `${one}s`) => `${count} ${count === 1 ? one : several}`;
const shortId = (id) => (id.length > 12 ? `${id.slice(0, 10)}…` : id);

/** Set the choices of a `select` and keep what is chosen, if it is still among them. */
function offerChoices(select, values, first = null) {
  const texts = first === null ? values : ["", ...values];
  const same = texts.length === select.options.length && texts.every((text, at) => select.options[at].value === text);
  if (same) return;
  const chosen = select.value;
  select.replaceChildren(...texts.map((value) => el("option", { value, text: value === "" ? first : value })));
  if (texts.includes(chosen)) select.value = chosen;
}

const ROWS_FIRST = 200;

/** A table whose columns sort it. Rows are kept from one drawing to the next, so that focus and selection stay. */
class Table {
  /**
   * @param table element.
   * @param caption for those who hear the page.
   * @param columns {title, number, value(item): sorts it, cell(item): text or element}.
   * @param empty text when there is nothing.
   * @param isNew whether the item of a key has just come.
   */
  constructor(table, caption, columns, empty, isNew = () => false) {
    this.columns = columns;
    this.empty = empty;
    this.sorted = 0;
    this.most = ROWS_FIRST;
    this.down = false;
    this.rows = new Map();
    this.isNew = isNew;
    this.heads = columns.map((column, at) =>
      el("th", { scope: "col", class: column.number ? "number" : null },
        el("button", { type: "button", text: column.title, click: () => this.sortBy(at) })));
    this.body = el("tbody");
    table.append(el("caption", { class: "hidden", text: caption }), el("thead", {}, el("tr", {}, ...this.heads)), this.body);
    this.items = [];
  }

  sortBy(column) {
    this.down = this.sorted === column && !this.down;
    this.sorted = column;
    this.draw(this.items);
  }

  /** Draw items, each with a `key`; `chosen` is the key of the one that stands out. */
  draw(items, chosen = this.chosen) {
    this.items = items;
    this.chosen = chosen;
    this.heads.forEach((head, at) => {
      head.setAttribute("aria-sort", at !== this.sorted ? "none" : this.down ? "descending" : "ascending");
    });
    const { value } = this.columns[this.sorted];
    const order = items.map((item) => ({ item, by: value(item) })).sort((one, other) => compare(one.by, other.by));
    if (this.down) order.reverse();
    const rows = order.slice(0, this.most).map(({ item }) => this.row(item));
    const keys = new Set(items.map((item) => item.key));
    for (const key of this.rows.keys()) if (!keys.has(key)) this.rows.delete(key);
    if (!rows.length) rows.push(el("tr", {}, el("td", { class: "empty", colspan: this.columns.length, text: this.empty() })));
    if (order.length > this.most) rows.push(this.rest(order.length - this.most));
    place(this.body, rows);
  }

  /** A page of thousands of rows is slow, and nobody reads it: the others come when they are wanted. */
  rest(count) {
    const more = el("button", { type: "button", text: `show ${count.toLocaleString()} more` });
    more.addEventListener("click", () => {
      this.most *= 4;
      this.draw(this.items);
    });
    return el("tr", {}, el("td", { class: "empty", colspan: this.columns.length }, more));
  }

  row(item) {
    const shown = JSON.stringify(item);
    let held = this.rows.get(item.key);
    if (!held) {
      held = { row: el("tr", { class: this.isNew(item.key) ? "new" : null }), shown: null };
      this.rows.set(item.key, held);
    }
    if (held.shown !== shown) {
      const focused = held.row.contains(document.activeElement);
      held.row.replaceChildren(...this.columns.map((column) => {
        const content = column.cell(item);
        return el("td", { class: column.number ? "number" : null }, content instanceof Node ? content : String(content));
      }));
      if (focused) held.row.querySelector("button")?.focus();
      held.shown = shown;
    }
    held.row.classList.toggle("chosen", item.key === this.chosen);
    return held.row;
  }
}

/** Empty values come last; numbers by size, texts as people sort them. */
function compare(one, other) {
  if (one === other) return 0;
  if (one === null || one === "") return 1;
  if (other === null || other === "") return -1;
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}

/** Make these the children of an element, in this order, without moving those that stand right. */
function place(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
}
