// The overlay's ring: each node at the angle of its identifier, clockwise from the top, as a share of 2^160.
const [CENTRE, RADIUS] = [220, 150];
const CLOSE = 0.022; // of the ring: nodes nearer to each other than that stand behind each other
const MEMBERS_DRAWN = 12;
const LABELS_MAX = 10;

const share = (id) => parseInt(id.slice(0, 12).padEnd(12, "0"), 16) / 2 ** 48;
const onRing = (part, radius) => [CENTRE + radius * Math.sin(2 * Math.PI * part), CENTRE - radius * Math.cos(2 * Math.PI * part)];

/** On which side of its place a text stands, so that it is outside the ring. */
const sideOf = (x) => (Math.abs(x - CENTRE) < 25 ? "middle" : x < CENTRE ? "end" : "start");

/** Nodes of one network on its ring: own ones (subnets of this machine) and their neighbours. */
function ringNodes(subnets) {
  const nodes = new Map();
  for (const subnet of subnets) if (subnet.node) nodes.set(subnet.node, { node: subnet.node, own: subnet, near: [] });
  for (const subnet of subnets) {
    for (const each of subnet.ring) {
      const known = nodes.get(each.node) ?? { node: each.node, own: null, near: [], ...each };
      known.near.push(subnet.node);
      nodes.set(each.node, known);
    }
  }
  let before = null;
  const sorted = [...nodes.values()].sort((one, other) => (one.node < other.node ? -1 : 1));
  let number = 0;
  for (const each of sorted) {
    each.share = share(each.node);
    each.level = before && each.share - before.share < CLOSE ? before.level + 1 : 0;
    each.number = each.own ? null : ++number;
    before = each;
  }
  return sorted;
}

function drawRing(root, nodes) {
  const marks = [svg("circle", { class: "circle", cx: CENTRE, cy: CENTRE, r: RADIUS })];
  for (let quarter = 0; quarter < 4; quarter += 1) {
    const [[x1, y1], [x2, y2], [x, y]] = [RADIUS - 5, RADIUS + 5, RADIUS - 18].map((radius) => onRing(quarter / 4, radius));
    marks.push(svg("line", { class: "tick", x1, y1, x2, y2 }), svg("text", { class: "faint", x, y, text: `${"048c"[quarter]}…` }));
  }
  const places = new Map(nodes.map((each) => [each.node, onRing(each.share, RADIUS - 20 * Math.min(each.level, 5))]));
  for (const each of nodes) {
    for (const from of each.near) {
      if (!places.has(from) || (each.own && from > each.node)) continue;
      const [[x1, y1], [x2, y2]] = [places.get(from), places.get(each.node)];
      const bend = (one, other) => CENTRE + ((one + other) / 2 - CENTRE) * 0.35;
      marks.push(svg("path", { class: "chord", d: `M${x1} ${y1}Q${bend(x1, x2)} ${bend(y1, y2)} ${x2} ${y2}` }));
    }
  }
  const few = nodes.length <= LABELS_MAX;
  for (const each of nodes) marks.push(...(each.own ? ownMarks(each, places) : otherMarks(each, places, few)));
  if (!nodes.length) marks.push(svg("text", { x: CENTRE, y: CENTRE, text: "no node here is in the overlay" }));
  root.replaceChildren(...marks);
  const own = nodes.filter((each) => each.own).length;
  root.setAttribute("aria-label", `Ring of the overlay with ${many(own, "node")} of this machine and ${many(nodes.length - own, "neighbour")}; the table has the same`);
}

function ownMarks(each, places) {
  const [cx, cy] = places.get(each.node);
  const hosts = [...each.own.here.map((here) => here.address), ...each.own.members];
  const drawn = hosts.slice(0, MEMBERS_DRAWN);
  const marks = drawn.map((host, at) => {
    const [x, y] = onRing(each.share + (at - (drawn.length - 1) / 2) * 0.016, RADIUS + 20);
    return svg("circle", { class: "member", cx: x, cy: y, r: 4 }, svg("title", { text: host }));
  });
  const [x, y] = onRing(each.share, RADIUS + 34);
  const side = sideOf(x);
  const name = svg("text", { class: `strong ${side}`, x, y: y - 6, text: each.own.interfaces[0] ?? each.own.here[0].by });
  const count = svg("text", { class: `faint ${side}`, x, y: y + 7, text: many(hosts.length, "host") });
  return [svg("circle", { class: "own", cx, cy, r: 11 }, svg("title", { text: `this subnet, ${each.node}` })), ...marks, name, count];
}

function otherMarks(each, places, few) {
  const [x, y] = places.get(each.node);
  const title = svg("title", { text: `${each.address || "no address known"}, ${each.node}` });
  const marks = [svg("circle", { class: "other", cx: x, cy: y, r: 9 }, title), svg("text", { x, y, text: each.number })];
  // Where there is room the address stands outside; else it is in the table.
  if (few && each.address && !each.level) {
    const [left, top] = onRing(each.share, RADIUS + 18);
    marks.push(svg("text", { class: `faint ${sideOf(left)}`, x: left, y: top, text: each.address }));
  }
  return marks;
}
