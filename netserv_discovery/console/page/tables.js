// The tables and what is written about one thing.
const kmText = (km) => (km === null ? "" : `${km < 10 ? km.toFixed(1) : Math.round(km).toLocaleString()} km`);

function loadCell(node) {
  if (node.load === null) return "";
  const percent = `${Math.round(node.load * 100)} %`;
  return el("span", {}, el("meter", { min: 0, max: 1, high: 0.8, value: node.load, "aria-label": `load ${percent}` }), ` ${percent}`);
}

const wayText = (node) => node.ways.join(", ");

/**
 * Nodes as they are shown: one for each key that signs, with all the ways by which it is seen; a link is told most of it.
 * What nobody has signed adds a way to the one signed node of its name, and nothing else; without one it stands alone.
 */
function mergedNodes(parts, near) {
  const found = [];
  const [byKey, byName] = [new Map(), new Map()];
  const rank = (node) => (node.signed ? 0 : 2) + (node.way === "link" ? 0 : 1);
  for (const [key, node] of [...parts.nodes].sort(([, one], [, other]) => rank(one) - rank(other))) {
    const way = node.way === "link" ? `link ${node.interface}` : node.way;
    const named = byName.get(node.node) ?? [];
    const same = node.signed ? byKey.get(node.public_key) : named.length === 1 ? named[0] : null;
    if (same) {
      if (!same.ways.includes(way)) same.ways.push(way);
      continue;
    }
    const shown = { ...node, key, ways: [way], km: near && node.place ? distanceKm(near, node.place) : null };
    found.push(shown);
    if (!node.signed) continue;
    byKey.set(node.public_key, shown);
    byName.set(node.node, [...named, shown]);
  }
  return found;
}

const nodeColumns = (choose) => [
  { title: "Node", value: (node) => node.name, cell: (node) => el("button", { type: "button", class: "link", text: node.name, click: () => choose(node.key) }) },
  { title: "Blocks", value: (node) => node.blocks.map(offerText).join(), cell: (node) => tags(node.blocks.map(offerText)) },
  { title: "Modules", value: (node) => node.modules.map(offerText).join(), cell: (node) => tags(node.modules.map(offerText)) },
  { title: "Load", value: (node) => node.load, cell: loadCell },
  { title: "Distance", number: true, value: (node) => node.km, cell: (node) => kmText(node.km) },
  { title: "Seen by", value: wayText, cell: wayText },
  { title: "Where", value: (node) => node.where[0] ?? "", cell: (node) => node.where.join(", ") },
];

function nodeDetails(root, node) {
  if (!node) {
    root.replaceChildren(el("h3", { text: "No node chosen" }),
      el("p", { class: "quiet", text: "Choose a node in the table or on the map to see all that it says." }));
    return;
  }
  root.replaceChildren(
    el("h3", { text: node.name }),
    facts([
      ["Identifier", el("code", { text: node.node })],
      ["Public key", node.public_key ? el("code", { text: node.public_key }) : ""],
      ["Seen by", wayText(node)],
      ["Signed", node.signed ? "by the node's own key" : "no: anybody on the link may have said this"],
      ["Operator", node.operator],
      ["Where", node.where.join(", ")],
      ["Blocks", node.blocks.length ? tags(node.blocks.map(offerText)) : "none said"],
      ["Modules", node.modules.length ? tags(node.modules.map(offerText)) : ""],
      ["Load", loadCell(node)],
      ["Place", node.place ? placeText(node.place) : ""],
      ["Distance", kmText(node.km)],
      ["Ends unless renewed", node.expires === null ? "" : new Date(node.expires * 1000).toLocaleTimeString()],
      ["It also says", node.notes.length ? tags(node.notes) : ""],
    ]),
  );
}

const RING_COLUMNS = [
  { title: "#", number: true, value: (each) => each.number, cell: (each) => each.number },
  { title: "Address", value: (each) => each.address, cell: (each) => each.address || "none known" },
  { title: "Identifier", value: (each) => each.node, cell: (each) => el("code", { title: each.node, text: shortId(each.node) }) },
  { title: "Round trip", number: true, value: (each) => each.rtt_ms, cell: (each) => (each.rtt_ms === null ? "" : `${each.rtt_ms} ms`) },
];

/** A subnet once, though several programs of this machine are hosts of it: each brings an address of its own. */
function mergedSubnets(subnets) {
  const found = new Map();
  for (const each of subnets) {
    const key = each.node || each.host;
    const same = found.get(key) ?? { ...each, here: [], ring: [] };
    const address = each.addresses[0] ?? "no address";
    same.here.push({ address, by: each.by === "mdht" ? "mdht run" : "z2z" });
    same.members = same.members.filter((member) => !same.here.some((here) => here.address === member));
    for (const near of each.ring) if (!same.ring.some((known) => known.node === near.node)) same.ring.push(near);
    found.set(key, same);
  }
  return [...found.values()];
}

function subnetCard(subnet) {
  const hosts = [...subnet.here.map((each) => `${each.address} (${each.by} here)`), ...subnet.members];
  return el("div", { class: "subnet" },
    el("h3", {}, "Subnet ", el("code", { text: subnet.subnet || "none yet" }), ` on ${subnet.interfaces.join(", ") || "no link"} `,
      el("span", { class: subnet.phase === "joined" ? "pill good" : "pill wait", text: `${subnet.phase}, ${subnet.role}` })),
    facts([
      ["Node", el("code", { text: subnet.node || "none yet" })],
      [many(hosts.length, "host"), tags(hosts)],
      ["Network", `${subnet.network}, ${many(subnet.contacts, "other node")} known`],
      ["Link", subnet.link_mode],
      ["Records", `${many(subnet.records, "record")}, ${subnet.record_bytes.toLocaleString()} bytes; policy ${subnet.policy || "none yet"}`],
      ["Port", subnet.port],
      ["Not reached", subnet.why],
    ]));
}

// The words of `z2z status`; any other is on its way.
const STATE_LOOKS = { exported: "good", imported: "good", refused: "bad", blocked: "bad" };

const SERVICE_COLUMNS = [
  { title: "Service", value: (each) => each.shown_as || each.service, cell: serviceName },
  { title: "Type", value: (each) => each.service_type, cell: (each) => each.service_type },
  { title: "Direction", value: (each) => each.role, cell: (each) => (each.role === "export" ? "↑ export" : "↓ import") },
  { title: "State", value: (each) => each.state, cell: serviceState },
  { title: "Keys or site", value: serviceWay, cell: serviceWay },
  { title: "Where", value: (each) => each.where[0] ?? "", cell: (each) => each.where.join(", ") },
];

function serviceName(each) {
  if (!each.shown_as || each.shown_as === each.service) return each.service;
  return el("span", {}, each.shown_as, el("span", { class: "quiet", text: ` (there ${each.service})` }));
}

function serviceState(each) {
  const pill = el("span", { class: `pill ${STATE_LOOKS[each.state] ?? "wait"}`, text: each.state });
  return each.reason ? el("span", {}, pill, el("span", { class: "quiet", text: ` ${each.reason}` })) : pill;
}

function serviceWay(each) {
  return each.role === "import" ? `from ${each.site}` : each.keys.join(", ");
}

function programLine(program) {
  const work = [...program.exports.map((each) => `export ${each}`), ...program.imports.map((each) => `import ${each}`)].join("; ");
  return el("li", {},
    el("b", { text: `z2z ${program.pid}` }), ` of site ${program.site} on ${program.interface}: ${work}`,
    program.keys.length ? ` as ${program.keys.join(", ")}` : "",
    el("div", { class: "quiet", text: [...program.stores, program.policy && `policy: ${program.policy}`, program.refused && `${many(program.refused, "value")} refused`].filter(Boolean).join("; ") }));
}

function sourceLine(source) {
  return el("li", {},
    el("span", { class: source.works ? "pill good" : "pill wait", text: source.works ? "works" : "nothing" }),
    el("b", { text: ` ${source.title} ` }), source.why,
    source.left_out ? ` (${source.left_out} more are left out)` : "");
}
