// The world as longitude and latitude (equirectangular), the nodes as dots; those at one place are one dot.
const EARTH_KM = 6371;
const NAMES_MAX = 20;

/** Kilometres along the surface. */
function distanceKm(one, other) {
  const rad = Math.PI / 180;
  const half = (degrees) => Math.sin((degrees * rad) / 2) ** 2;
  const a = half(other.latitude - one.latitude)
    + Math.cos(one.latitude * rad) * Math.cos(other.latitude * rad) * half(other.longitude - one.longitude);
  return 2 * EARTH_KM * Math.asin(Math.min(1, Math.sqrt(a)));
}

/** `40.71,-74.01` as a place, null for nothing; undefined for what is none. */
function parsePlace(text) {
  if (!text.trim()) return null;
  const match = /^\s*([+-]?\d+(?:\.\d+)?)\s*,\s*([+-]?\d+(?:\.\d+)?)\s*$/.exec(text);
  if (!match) return undefined;
  const place = { latitude: Number(match[1]), longitude: Number(match[2]) };
  return Math.abs(place.latitude) <= 90 && Math.abs(place.longitude) <= 180 ? place : undefined;
}

const placeText = (place) =>
  `${Math.abs(place.latitude)}° ${place.latitude < 0 ? "S" : "N"}, ${Math.abs(place.longitude)}° ${place.longitude < 0 ? "W" : "E"}`;

class WorldMap {
  /** @param choose is told the key of a node that was clicked at. */
  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
    this.view = { x: 0, y: 0, width: 360 };
    this.nodes = [];
    this.dots = svg("g");
    const outline = (line) => `M${line.split(" ").map((pair) => pair.split(",").map(Number)).map(([lon, lat]) => `${lon + 180} ${90 - lat}`).join("L")}Z`;
    let grid = "";
    for (let lon = 30; lon < 360; lon += 30) grid += `M${lon} 0V180`;
    for (let lat = 30; lat < 180; lat += 30) grid += `M0 ${lat}H360`;
    root.append(
      svg("path", { class: "land", d: LAND.map(outline).join("") }),
      svg("path", { class: "lake", d: LAKES.map(outline).join("") }),
      svg("path", { class: "grid", d: grid }),
      this.dots,
    );
    byId("zoom-in").addEventListener("click", () => this.zoom(0.5));
    byId("zoom-out").addEventListener("click", () => this.zoom(2));
    byId("zoom-all").addEventListener("click", () => this.show(0, 0, 360));
    byId("zoom-fit").addEventListener("click", () => this.fit());
    root.addEventListener("keydown", (event) => this.key(event));
    this.dragging();
  }

  draw(nodes, near, chosen) {
    Object.assign(this, { nodes: nodes.filter((node) => node.place), near, chosen });
    const unit = this.view.width / 360;
    const groups = [];
    for (const node of this.nodes) {
      // What would lie within one dot is one.
      const near = groups.find(([first]) => Math.abs(first.place.longitude - node.place.longitude) < 4 * unit
        && Math.abs(first.place.latitude - node.place.latitude) < 4 * unit);
      if (near) near.push(node);
      else groups.push([node]);
    }
    const marks = groups.flatMap((group) => this.dot(group, unit));
    if (groups.length <= NAMES_MAX) marks.push(...this.names(groups, unit));
    if (near) {
      const [x, y] = point(near);
      marks.unshift(svg("path", { class: "near", d: `M${x - 5 * unit} ${y}h${10 * unit}M${x} ${y - 5 * unit}v${10 * unit}` },
        svg("title", { text: "distances are from here" })));
    }
    this.dots.replaceChildren(...marks);
    const nowhere = nodes.length - this.nodes.length;
    byId("map-note").textContent =
      `${many(this.nodes.length, "node")} on the map${nowhere ? `, ${nowhere} that do${nowhere === 1 ? "es" : ""} not say where` : ""}`;
    this.root.setAttribute("aria-label", `World map with ${many(this.nodes.length, "node")}; the table below has the same nodes`);
  }

  dot(group, unit) {
    const [x, y] = point(group[0].place);
    const chosen = group.some((node) => node.key === this.chosen);
    const names = group.map((node) => node.name);
    const text = names.length > 6 ? `${names.slice(0, 5).join(", ")} and ${names.length - 5} more` : names.join(", ");
    const next = group[(group.findIndex((node) => node.key === this.chosen) + 1) % group.length];
    const radius = (group.length > 1 ? 4.2 : 3) * unit;
    const mark = svg("circle", { class: chosen ? "dot chosen" : "dot", cx: x, cy: y, r: radius, click: () => this.choose(next.key) },
      svg("title", { text }));
    if (group.length === 1) return [mark];
    return [mark, svg("text", { class: "many", x, y, "font-size": 4.5 * unit, text: group.length > 99 ? "99+" : group.length })];
  }

  /** Names beside the dots, where they cover no other. */
  names(groups, unit) {
    const size = 4.6 * unit;
    const taken = groups.map(([first]) => point(first.place)).map(([x, y]) => ({ x: x - 3 * unit, y: y - 3 * unit, w: 6 * unit, h: 6 * unit }));
    const clear = (box) => box.x >= this.view.x && box.x + box.w <= this.view.x + this.view.width && taken.every((each) => box.x >= each.x + each.w || each.x >= box.x + box.w || box.y >= each.y + each.h || each.y >= box.y + box.h);
    return groups.flatMap((group) => {
      const text = group.length > 1 ? `${group[0].name} +${group.length - 1}` : group[0].name;
      if (text.length > 24) return [];
      const [x, y] = point(group[0].place);
      const w = 0.6 * size * text.length;
      const spots = [[x + 5 * unit, y], [x - 5 * unit - w, y], [x - w / 2, y - 6.5 * unit], [x - w / 2, y + 6.5 * unit]];
      const spot = spots.find(([left, middle]) => clear({ x: left, y: middle - size / 2, w, h: size }));
      if (!spot) return [];
      taken.push({ x: spot[0], y: spot[1] - size / 2, w, h: size });
      return [svg("text", { class: "name", x: spot[0], y: spot[1], "font-size": size, "stroke-width": 1.2 * unit, text })];
    });
  }

  show(x, y, width) {
    const wide = Math.min(360, Math.max(6, width));
    const within = (value, most) => Math.max(0, Math.min(most, value));
    this.view = { x: within(x, 360 - wide), y: within(y, 180 - wide / 2), width: wide };
    this.root.setAttribute("viewBox", `${this.view.x} ${this.view.y} ${wide} ${wide / 2}`);
    this.draw(this.nodes, this.near, this.chosen);
  }

  zoom(factor) {
    const { x, y, width } = this.view;
    this.show(x + (width * (1 - factor)) / 2, y + (width * (1 - factor)) / 4, width * factor);
  }

  fit() {
    const points = this.nodes.map((node) => point(node.place));
    if (!points.length) return;
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const width = Math.max(right - left, 2 * (bottom - top)) * 1.2 + 10;
    this.show((left + right - width) / 2, (top + bottom - width / 2) / 2, width);
  }

  key(event) {
    const { x, y, width } = this.view;
    const step = width / 8;
    const moves = {
      ArrowLeft: () => this.show(x - step, y, width), ArrowRight: () => this.show(x + step, y, width),
      ArrowUp: () => this.show(x, y - step, width), ArrowDown: () => this.show(x, y + step, width),
      "+": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.show(0, 0, 360),
    };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
  }

  dragging() {
    let from = null;
    this.root.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY, view: this.view };
    });
    this.root.addEventListener("pointermove", (event) => {
      if (!from || !event.buttons) return;
      const scale = from.view.width / this.root.clientWidth;
      const [dx, dy] = [(from.x - event.clientX) * scale, (from.y - event.clientY) * scale];
      if (Math.abs(dx) + Math.abs(dy) > 3 * scale) this.show(from.view.x + dx, from.view.y + dy, from.view.width);
    });
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) this.root.addEventListener(end, () => { from = null; });
  }
}

const point = (place) => [place.longitude + 180, 90 - place.latitude];
